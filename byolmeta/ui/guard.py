"""What stands between the network and Gradio: which requests come through and, on a shared machine, whose they are.

Gradio knows a visitor by the session hash that the browser made up, serves every file that was ever sent to it, and has
routes for things that this page does not do (it would fetch any address of the internet for whoever asks). So:

- only the routes of ROUTES answer, and of files only what is in thumbs/;
- requests that another website makes are refused: a browser says where they come from, a program need not;
- a JSON body is read here, bounded, and goes on as it was understood here, so that nothing reads it otherwise;
- on a shared machine the first who uses a session hash owns it, and with it the pictures, maps and files of that session.
  A visitor is known by a cookie that no script can read; where cookies are blocked, by the address and the browser.
"""

import asyncio
import collections
import hashlib
import json
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import JSONResponse

from byolmeta.ui.languages import language_of
from byolmeta.ui.sentences import said
from byolmeta.ui.words import table
from byolmeta.ui.workspace import VISITOR, Workspace

API = "/gradio_api"
ROUTES = re.compile(
    r"/|/(config|favicon\.ico|theme\.css|robots\.txt|manifest\.json|pwa_icon(/\d+)?|login|logout)/?"
    r"|/(static|assets|svelte)/.*"
    rf"|{API}/(info|openapi\.json|app_id|user|token|login_check|theme\.css|startup-events|upload|upload_progress|cancel|reset)/?"
    rf"|{API}/(queue/(join|data|status)|heartbeat/[^/]+)/?"
    rf"|{API}/(call|call/v2)/[^/]+/?"  # not run/, which passes by the queue
    rf"|{API}/call/(v2/)?[^/]+/[^/]+"
    rf"|{API}/mcp(/.*)?"
    rf"|{API}/file=.*",
    re.DOTALL,
)
FILE = f"{API}/file="
SERVED = (".webp", ".json", ".bin")  # of thumbs/; exports are of other kinds too, and saved, never shown
COOKIE = "byolmeta"
CALLER, KEY = (
    "x-byolmeta-caller",
    secrets.token_hex(16),
)  # with which Gradio hands an agent's call on to this very server
JSON_BYTES = 8 << 20  # of one body; the largest the page sends are lists of 200,000 picture numbers
LONG = 1 << 18  # bytes from which on a body is read beside the other visitors
READ_SECONDS = 60  # for a JSON body to arrive
FORM_BYTES = 1 << 12  # of a name and a password
HOUR_BYTES = 3 << 30  # that one visitor of a shared machine may send in an hour
SENT = 20_000  # files of a visitor that are known as theirs
SPARE_BYTES = 1 << 30  # that uploads leave free on the disk of a shared machine
PAGES = 2_000  # sessions that Gradio keeps for a shared machine; whose they are is known for longer
CALLS = 20  # of programs that wait for their turn on a shared machine
OWN_CALLS = 5  # of one of them
SHOWN = {b"x-content-type-options": b"nosniff", b"referrer-policy": b"same-origin"}
INERT = {b"content-security-policy": b"sandbox; default-src 'none'"}  # a file opened by its address does nothing


class Refused(Exception):
    """A request that goes no further: status and a sentence."""

    def __init__(self, status: int, sentence: str):
        self.status, self.sentence = status, sentence


GONE = Refused(404, "There is nothing at this address.")
FOREIGN = Refused(403, "Another website asked for this. Open the page itself.")
NOT_YOURS = Refused(403, "This belongs to another visitor, or to a page that is closed. Reload the page.")
BUSY = Refused(503, "Too many programs wait for this shared computer. Try again when your calls are done, or later.")
NOT_JSON = Refused(400, "The request is not a JSON object that can be read.")


class Visitors:
    """Who owns which session hash and which sent file of a shared machine."""

    def __init__(self):
        self.owners: collections.OrderedDict[str, str] = collections.OrderedDict()
        self.names: dict[str, str] = {}  # by cookie: the visitor's name on all pages of that browser
        self.files: dict[str, collections.OrderedDict[str, None]] = {}
        self.answers: collections.OrderedDict[str, str] = collections.OrderedDict()  # files made for a caller: whose
        self.bytes: dict[str, list[tuple[float, int]]] = {}  # by owner: when, how many
        self.lock = threading.Lock()

    def claim(self, session_hash: str, owner: str) -> bool:
        """Whether a session hash is an owner's; one that nobody has used becomes theirs."""
        with self.lock:
            mine = self.owners.setdefault(session_hash, owner) == owner
            if mine:
                self.owners.move_to_end(session_hash)
            while len(self.owners) > 10 * PAGES:
                self.owners.popitem(last=False)
            return mine

    def known(self, cookie: str, name: str, kept: set[str]) -> str:
        """The name of a browser's visitor: that of its other pages if one is kept, so that a reload finds everything."""
        if not VISITOR.fullmatch(cookie):
            return name
        with self.lock:
            if self.names.get(cookie) not in kept:
                self.names[cookie] = name
            return self.names[cookie]

    def hashes(self, owner: str) -> list[str]:
        with self.lock:
            return [session_hash for session_hash, who in self.owners.items() if who == owner]

    def sent(self, owner: str, paths: list[str]) -> None:
        with self.lock:
            mine = self.files.setdefault(owner, collections.OrderedDict())
            mine.update(dict.fromkeys(paths))
            while len(mine) > SENT:
                mine.popitem(last=False)

    def has_sent(self, owner: str, path: str) -> bool:
        with self.lock:
            return path in self.files.get(owner, ())

    def given(self, owner: str, path: str) -> None:
        """A file was made for a caller, who may fetch it."""
        with self.lock:
            self.answers[path] = owner
            while len(self.answers) > SENT:
                self.answers.popitem(last=False)

    def room(self, owner: str, count: int) -> bool:
        """Whether an owner may send this many bytes more within the hour; if so they are counted."""
        now = time.monotonic()
        with self.lock:
            recent = [(then, size) for then, size in self.bytes.get(owner, []) if now - then < 3600]
            fits = sum(size for _, size in recent) + count <= HOUR_BYTES
            self.bytes[owner] = [*recent, (now, count)] if fits else recent
            return fits

    def tidy(self, kept: set[str]) -> None:
        """Drops what is known of owners who have none of the pages that are kept, and sent nothing for an hour."""
        now = time.monotonic()
        with self.lock:
            here = {owner for session_hash, owner in self.owners.items() if session_hash in kept}
            for owner in (self.names.keys() | self.bytes.keys() | self.files.keys()) - here:
                self.names.pop(owner, None)
                if all(now - then > 3600 for then, _ in self.bytes.get(owner, [])):
                    self.bytes.pop(owner, None)
                    self.files.pop(owner, None)


class Guard:
    """ASGI middleware around Gradio's app. `files`: those outside of thumbs/ that the page needs. `usual`: language."""

    def __init__(self, app, work: Workspace, files: list[str], most_bytes: int = 0, usual: str | None = None):
        self.app, self.work, self.most_bytes, self.usual = app, work, most_bytes, usual
        self.files = {Path(file).resolve() for file in files}
        self.thumbs = (work.home / "thumbs").resolve()
        self.visitors = work.visitors = Visitors()

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})  # nothing here uses another protocol
        request = Request(scope, receive)
        cookie = cookie_in(request)
        owner = owner_of(request)
        if self.work.public and scope["path"].startswith(f"{API}/mcp"):
            scope["headers"] = _handed_on(scope["headers"], owner)
        new = "" if cookie or not self.work.public or request.url.path != "/" else secrets.token_hex(16)
        try:
            extra = self.check(request, owner)
            if request.method == "POST" and not _is_upload(scope["path"]) and scope["path"].startswith(API):
                receive = await self.body(request, owner, receive)
        except Refused as no:
            sentence = said(table(language_of(request, self.usual)), no.sentence)
            answer = JSONResponse({"detail": sentence, "error": sentence}, no.status)
            return await answer(scope, receive, send)
        extra = SHOWN | extra
        if new:
            extra[b"set-cookie"] = cookie_of(new, request).encode()
        listen = self.listener(owner) if self.work.public and _is_upload(scope["path"]) else None
        await self.app(scope, receive, _with(send, extra, listen))

    # What a request may be

    def check(self, request: Request, owner: str) -> dict[bytes, bytes]:
        """Raises Refused for what does not come through; returns headers of the answer."""
        path, method = request.scope["path"], request.method
        if not ROUTES.fullmatch(path):
            raise GONE
        self.check_site(request)
        extra = {} if self.work.public else {b"x-frame-options": b"SAMEORIGIN"}
        if path.startswith(FILE):
            return extra | self.check_file(request.app, path[len(FILE) :], owner)
        if method == "POST" and (_is_upload(path) or not path.startswith(API)):
            self.check_length(request, owner, _is_upload(path))
        if self.work.public:
            for name in _hashes_in(request):
                self.check_hash(request.app, name, owner)
        return extra

    def check_site(self, request: Request) -> None:
        """Refuses what another website's page asks for, save that it may link to ours."""
        headers = request.headers
        site, origin = headers.get("sec-fetch-site"), headers.get("origin")
        link = request.method in ("GET", "HEAD") and not request.scope["path"].startswith(API)
        if site in ("cross-site", "same-site") and not (link and headers.get("sec-fetch-mode") == "navigate"):
            raise FOREIGN
        if site is None and origin is not None:  # an old browser, or a program that says where it is from
            hosts = {headers.get("host", "")} | ({headers.get("x-forwarded-host", "")} if self.work.public else set())
            if urlsplit(origin).netloc not in hosts:
                raise FOREIGN

    def check_length(self, request: Request, owner: str, upload: bool) -> None:
        """Bounds what is not read here: files that are sent, and the form of the log-in."""
        length = request.headers.get("content-length", "")
        if not (self.work.public or not upload):
            return
        if not (length.isascii() and length.isdigit()):
            raise Refused(411, "The request does not say how long it is.")
        if not upload:
            if int(length) > FORM_BYTES:
                raise Refused(413, "The form is too long.")
            return
        if int(length) > self.most_bytes:
            raise Refused(413, f"That is more than {self.most_bytes / 1e9:.1f} GB, the most for this shared computer.")
        if shutil.disk_usage(self.work.home).free - int(length) < SPARE_BYTES:
            raise Refused(413, "This shared computer has no room for more pictures now. Try again in an hour.")
        if not self.visitors.room(owner, int(length)):
            raise Refused(413, "You have sent as much as one visitor may in an hour. Try again later.")

    def check_file(self, app, name: str, owner: str) -> dict[bytes, bytes]:
        """Raises Refused for a file that is not the page's; returns headers of its answer."""
        path = Path(name)
        try:
            if not path.is_absolute() or path.resolve() != path:
                raise GONE
        except (OSError, ValueError, RuntimeError):
            raise GONE from None
        if path in self.files:
            return {}
        whose = self.visitors.answers.get(str(path))
        if whose is not None and whose == (owner if self.work.public else whose):
            return INERT | {b"content-disposition": b"attachment"}
        parts = path.relative_to(self.thumbs).parts if path.is_relative_to(self.thumbs) else ()
        if len(parts) < 2 or not (parts[0] == "exports" or path.suffix in SERVED):
            raise GONE
        if self.work.public:
            names = self.names(app, owner)
            whose = VISITOR.match(parts[1])
            mine = whose.group() in names if whose else any(parts[0] in self.work.sheets_of(each) for each in names)
            if not mine:
                raise GONE
        return INERT | ({b"content-disposition": b"attachment"} if parts[0] == "exports" else {})

    def names(self, app, owner: str) -> set[str]:
        """The visitors' names that Gradio keeps for an owner's pages."""
        kept = app.state_holder.session_data
        pages = [kept[each] for each in self.visitors.hashes(owner) if each in kept]
        return {name for page in pages if (name := page.state_data.get(self.work.state_of_who))}

    def check_hash(self, app, name: str, owner: str) -> None:
        """Raises Refused where a session hash, or the number of an event of a session, is another visitor's."""
        queue = app.get_blocks()._queue
        event = queue.event_ids_to_events.get(name)
        of = [session for session, events in list(queue.pending_event_ids_session.items()) if name in events]
        for session_hash in {name, *of, *([event.session_hash] if event else [])}:
            if not self.visitors.claim(session_hash, owner):
                raise NOT_YOURS

    # Bodies

    async def body(self, request: Request, owner: str, receive):
        """Reads a JSON body and checks it; returns a `receive` that hands on what was read."""
        try:
            data = await asyncio.wait_for(_read(receive), READ_SECONDS)
        except (TimeoutError, asyncio.TimeoutError):
            raise Refused(408, "The request took too long to arrive.") from None
        found, text = await asyncio.to_thread(_understood, data) if len(data) > LONG else _understood(data)
        for path in _paths(found):
            if re.match(r"\s*[a-z][a-z0-9+.-]+://", path, re.IGNORECASE):
                raise Refused(403, "Send the file itself: nothing is fetched from other places.")
            if self.work.public and not self.may_name(path, owner):
                raise NOT_YOURS
        if request.scope["path"].startswith(f"{API}/mcp"):
            self.check_tool(request, found)
        if self.work.public:
            for name in (found.get("session_hash"), found.get("event_id")):
                if name is not None:
                    if not isinstance(name, str) or not 0 < len(name) < 200:
                        raise NOT_JSON
                    self.check_hash(request.app, name, owner)
            self.check_calls(request, found, owner)
        headers = [(k, v) for k, v in request.scope["headers"] if k not in (b"content-length", b"transfer-encoding")]
        request.scope["headers"] = [*headers, (b"content-length", str(len(text)).encode())]
        return _again(text, receive)

    def check_tool(self, request: Request, found: dict) -> None:
        """Raises Refused where an agent calls by its name a verb that it is not shown (see endpoints.only_reading)."""
        asked = found.get("params")
        name = asked.get("name") if isinstance(asked, dict) else None
        verbs = [event.fn for event in request.app.get_blocks().fns.values()]
        if name in [verb.__name__ for verb in verbs if getattr(verb, "_mcp_type", "tool") != "tool"]:
            raise GONE

    def check_calls(self, request: Request, found: dict, owner: str) -> None:
        """Raises Refused for a program's call where too many wait already: each may take minutes, and holds its files."""
        blocks, index = request.app.get_blocks(), found.get("fn_index")
        called = blocks.fns.get(index) if isinstance(index, int) else None
        if not (request.scope["path"].startswith(f"{API}/call/") or (called and _for_programs(called))):
            return
        queues = blocks._queue.event_queue_per_concurrency_id.values()
        waiting = [owner_of(event.request) for each in queues for event in each.queue if _for_programs(event.fn)]
        if len(waiting) >= CALLS or waiting.count(owner) >= OWN_CALLS:
            raise BUSY

    def may_name(self, path: str, owner: str) -> bool:
        """Whether a visitor may name a file in an event: of those that were sent to Gradio, only their own."""
        from gradio.utils import get_upload_folder

        try:
            theirs = Path(path).resolve().is_relative_to(Path(get_upload_folder()).resolve())
        except (OSError, ValueError, RuntimeError):
            return True  # no file at all; who reads it says so
        return not theirs or self.visitors.has_sent(owner, path)

    def listener(self, owner: str):
        """Is told the answer to an upload, which names the files that arrived."""
        heard = bytearray()

        def listen(data: bytes, more: bool) -> None:
            heard.extend(data)
            if not more:
                try:
                    paths = json.loads(bytes(heard))
                except ValueError:
                    return
                if isinstance(paths, list):
                    self.visitors.sent(owner, [path for path in paths if isinstance(path, str)])

        return listen


def cookie_in(request: Request) -> str:
    """The visitor's cookie; "" for none, or for one that this page did not make."""
    cookie = request.cookies.get(COOKIE, "")
    return cookie if VISITOR.fullmatch(cookie) else ""


def owner_of(request: Request) -> str:
    """Who asks."""
    return cookie_in(request) or address_of(request)


def caller_of(request: Request) -> str:
    """Who asks for what a program calls: of an agent, whose calls Gradio makes anew in its own name, the agent."""
    key, _, agent = request.headers.get(CALLER, "").partition(" ")
    return agent if secrets.compare_digest(key.encode(), KEY.encode()) else owner_of(request)


def _handed_on(headers: list[tuple[bytes, bytes]], owner: str) -> list[tuple[bytes, bytes]]:
    """The headers of an agent's request as Gradio hands them on: without what it lacks when it asks for the answers."""
    kept = [(k, v) for k, v in headers if k not in (b"cookie", b"x-forwarded-for", CALLER.encode())]
    return [*kept, (CALLER.encode(), f"{KEY} {owner}".encode())]


def address_of(request: Request) -> str:
    """What tells a visitor without cookies from others."""
    client = request.client.host if request.client else ""
    parts = [request.headers.get("x-forwarded-for", client), request.headers.get("user-agent", "")]
    return "address-" + hashlib.sha256("\n".join(parts).encode()).hexdigest()


def cookie_of(value: str, request: Request) -> str:
    """The Set-Cookie of a new visitor. Inside another website's frame, as on Spaces, it needs https and says so."""
    secure = request.headers.get("x-forwarded-proto", request.url.scheme).startswith("https")
    where = "SameSite=None; Secure; Partitioned" if secure else "SameSite=Lax"
    return f"{COOKIE}={value}; Path=/; HttpOnly; {where}"


def _for_programs(function) -> bool:
    """Whether an event of the page is one of the named endpoints."""
    return function.api_visibility != "private"


def _is_upload(path: str) -> bool:
    return path.rstrip("/") == f"{API}/upload"


def _hashes_in(request: Request) -> Iterator[str]:
    """Session hashes and numbers of events in the address of a request."""
    yield from request.query_params.getlist("session_hash")
    parts = request.scope["path"].strip("/").split("/")[1:]
    if parts[:1] == ["heartbeat"]:
        yield parts[1]
    if parts[:1] == ["call"] and request.method != "POST":
        yield parts[-1]


def _paths(value) -> Iterator[str]:
    """All places of files that a JSON value names, at any depth."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            if isinstance(found.get("path"), str):
                yield found["path"]
            waiting += found.values()
        elif isinstance(found, list):
            waiting += found


async def _read(receive) -> bytes:
    data = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise NOT_JSON
        data += message.get("body", b"")
        if len(data) > JSON_BYTES:
            raise Refused(413, f"The request is larger than {JSON_BYTES >> 20} MB.")
        if not message.get("more_body"):
            return bytes(data)


def _understood(data: bytes) -> tuple[dict, bytes]:
    """A JSON object, and it written anew: what Gradio reads is what was checked, no name stands twice, all is UTF-8."""
    try:
        found = json.loads(data)
        text = json.dumps(found, ensure_ascii=False).encode("utf-8", "replace")
    except (ValueError, RecursionError):
        raise NOT_JSON from None
    if not isinstance(found, dict):
        raise NOT_JSON
    return found, text


def _again(text: bytes, receive):
    """A `receive` that hands on a body once, and then what follows."""
    waiting = [{"type": "http.request", "body": text, "more_body": False}]

    async def replay():
        return waiting.pop() if waiting else await receive()

    return replay


def _with(send, extra: dict[bytes, bytes], listen):
    """A `send` that adds headers, in place of those of the same names, and tells `listen` the body."""

    async def sending(message):
        if message["type"] == "http.response.start":
            kept = [(name, value) for name, value in message["headers"] if name not in extra or name == b"set-cookie"]
            message = message | {"headers": [*kept, *extra.items()]}
        elif listen and message["type"] == "http.response.body":
            listen(message.get("body", b""), message.get("more_body", False))
        await send(message)

    return sending
