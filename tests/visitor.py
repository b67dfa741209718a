"""A visitor of the served page who speaks raw HTTP: what a browser sends, and what a browser would never send."""

import contextlib
import functools
import json
import secrets
from pathlib import Path

import httpx

from byolmeta.ui import build, launch_options
from byolmeta.ui.languages import Spoken
from byolmeta.ui.words import table
from byolmeta.ui.workspace import Workspace

API = "/gradio_api"


@contextlib.contextmanager
def serving(home: Path, public: bool = False, spoken: bool = False, **options):
    """(workspace, page, address) of a page that is served from this process; `spoken`: in the browser's language."""
    work = Workspace(home, public=public)
    demo = build(work, Spoken() if spoken else table("en"))
    settings = launch_options(work) | options
    _, address, _ = demo.queue(default_concurrency_limit=8).launch(**settings, prevent_thread_lock=True, quiet=True)
    try:
        yield work, demo, address.rstrip("/")
    finally:
        demo.close()


class Visitor:
    """One browser with one page open."""

    def __init__(self, address: str, cookies: bool = True):
        self.web = httpx.Client(base_url=address, timeout=60, verify=False)
        self.hash = secrets.token_hex(6)
        if cookies:
            self.web.get("/")

    @functools.cached_property
    def config(self) -> dict:
        """The parts of the page and what follows what, as every browser asks for it once."""
        return self.web.get("/config").json()

    def dependency(self, elem_id: str, event: str) -> dict:
        """What the page does at an event of a part."""
        parts, events = self.config["components"], self.config["dependencies"]
        numbers = [part["id"] for part in parts if part["props"].get("elem_id") == elem_id]
        return next(d for d in events if any([n, event] in map(list, d["targets"]) for n in numbers))

    def follow(self, found: dict) -> None:
        """What the page does after an event, one after the other; values are those that its parts begin with."""
        values = {part["id"]: part["props"].get("value") for part in self.config["components"]}
        for after in self.config["dependencies"]:
            if after["trigger_after"] == found["id"]:
                if after["backend_fn"]:
                    self.join({"data": [values.get(each) for each in after["inputs"]], "fn_index": after["id"]})
                self.follow(after)

    def event(self, elem_id: str, event: str, data: list | None = None, sent=None) -> list[dict]:
        """The messages that follow an event; `data`: values of its inputs, all None where nothing is said."""
        found = self.dependency(elem_id, event)
        return self.join({"data": data or [None] * len(found["inputs"]), "fn_index": found["id"], "event_data": sent})

    def first(self) -> list[dict]:
        """The event with which every page begins."""
        events = self.config["dependencies"]
        load = next(d for d in events if any(target[1] == "load" for target in d["targets"]))
        return self.join({"data": [None] * len(load["inputs"]), "fn_index": load["id"]})

    def join(self, body: dict) -> list[dict]:
        text = json.dumps({"session_hash": self.hash, **body})  # also what is no valid text
        answer = self.web.post(f"{API}/queue/join", content=text, headers={"Content-Type": "application/json"})
        if answer.status_code != 200:
            return [{"msg": "refused", "status": answer.status_code, "said": answer.text}]
        return self.messages()

    def messages(self) -> list[dict]:
        """Of this page's stream, until the event under way is done."""
        found = []
        with self.web.stream("GET", f"{API}/queue/data", params={"session_hash": self.hash}) as stream:
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    found.append(json.loads(line[6:]))
                    if found[-1]["msg"] in ("process_completed", "unexpected_error"):
                        return found
        return found

    def upload(self, files: dict[str, bytes]) -> list[dict]:
        """Sends files; returns them as an event names them."""
        answer = self.web.post(f"{API}/upload", files=[("files", (name, data)) for name, data in files.items()])
        answer.raise_for_status()
        return [{"path": path, "name": name} for path, name in zip(answer.json(), files, strict=True)]

    def name(self, work, demo) -> str:
        """By which the machine knows this visitor."""
        return demo.state_holder.session_data[self.hash].state_data[work.state_of_who]

    def status(self, path: str, **headers: str) -> int:
        return self.web.get(path, headers=headers).status_code
