"""Who may do what over the network: other websites nothing, strangers on a shared machine nothing of each other's.

Raw HTTP against the page as it is served. Hostile files and values are in test_hostile.py.
"""

import json
import os
import re
import secrets
import socket
import sys
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from browser import ROOT
from visitor import API, Visitor, serving

from byolmeta.errors import InputError
from byolmeta.runs import Run
from byolmeta.settings import PretrainConfig
from byolmeta.ui import explore, guard, names_kept

pytest.importorskip("gradio")

STATE_CHANGING = [
    ("/queue/join", {"json": {"data": [], "fn_index": 0, "session_hash": "x"}}),
    ("/call/classify", {"json": {"data": [[], None]}}),
    ("/call/v2/classify", {"json": {"images": []}}),
    ("/cancel", {"json": {"session_hash": "x", "fn_index": 0, "event_id": "x"}}),
    ("/reset", {"json": {"event_id": "x"}}),
    ("/upload", {"files": [("files", ("a.png", b"x"))]}),
]
WEB = httpx.Client(verify=False, timeout=60)  # no certificates to load: the pages are on this machine
FOREIGN = [
    {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:9"},  # another program's page on this machine
    {"Origin": "https://evil.example"},  # a browser that does not say more
    {"Origin": "null"},  # a frame without an origin
]


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("local") / "home") as found:
        yield found


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("public") / "home", public=True) as found:
        yield found


@pytest.fixture(scope="module")
def anna(public, pictures):
    """A visitor of the shared machine with pictures, boxes, a file to take along and a run; `files`: URLs of hers."""
    work, _, address = public
    visitor = Visitor(address)
    files = visitor.upload({f"mine/{path.stem}.png": path.read_bytes() for path in sorted(pictures.rglob("*.png"))[:9]})
    visitor.event("drop", "received", sent={"files": files})
    session = work.session(visitor.name(work, public[1]))
    sheets = work.pictures(session).sheets
    saved = explore.export_path(work, session, "list.csv")
    saved.write_text("path")
    run = Run(work.home / "runs" / "hers")
    run.create(PretrainConfig(), visitor=session.name, folder=session.source)
    run.encoder.write_bytes((ROOT / "pretrained" / "photos-small.safetensors").read_bytes())
    run.set_status("done", step=1, steps=1)
    session.run = str(run.folder)
    work.add_extra(session, pictures / "disc" / "0.png")
    urls = [sheets["sheets"][0], sheets["about"], work.extras(session)[0]["url"]]
    urls += [work.file(session, work.pictures(session).store.labels, "xy"), json.loads(explore.fetched(saved))["url"]]
    return SimpleNamespace(visitor=visitor, session=session, urls=urls, uploaded=files[0]["path"], run=run)


@pytest.fixture
def ben(public):
    """Another visitor."""
    visitor = Visitor(public[2])
    visitor.first()
    return visitor


# Other websites


@pytest.mark.parametrize("path, sent", STATE_CHANGING)
@pytest.mark.parametrize("headers", FOREIGN)
def test_what_another_website_asks_for_is_refused(local, path, sent, headers):
    answer = WEB.post(local[2] + API + path, headers=headers, **sent)
    assert answer.status_code == 403 and "Another website" in answer.json()["detail"]


@pytest.mark.parametrize("path, sent", STATE_CHANGING)
def test_the_page_itself_and_programs_are_let_through(local, path, sent):
    origin = {"Origin": local[2], "Sec-Fetch-Site": "same-origin"}
    for headers in ({}, origin, {"Origin": local[2]}):
        assert WEB.post(local[2] + API + path, headers=headers, **sent).status_code != 403


def test_another_website_reads_and_frames_nothing_but_may_link(local):
    work, _, address = local
    url = work.pictures(work.session("local")).sheets["sheets"][0]
    embedded = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
    linked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert WEB.get(address + url).status_code == 200
    for headers in (embedded, linked):
        assert WEB.get(address + url, headers=headers).status_code == 403
    assert WEB.get(address + "/config", headers=embedded).status_code == 403
    page = WEB.get(address + "/", headers=linked)
    assert page.status_code == 200 and page.headers["x-frame-options"] == "SAMEORIGIN"
    assert WEB.get(address + "/", headers={"Host": "evil.example"}).status_code == 400
    assert WEB.options(address + API + "/upload", headers={"Origin": "https://evil.example"}).status_code != 200


# What is served


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=http://example.com/", "/gradio_api/file=https:/example.com", "/gradio_api/proxy=http://127.0.0.1/",
        "/gradio_api/deep_link?session_hash=x", "/gradio_api/component_server", "/gradio_api/process_recording",
        "/gradio_api/stream/a/b/1/playlist-file", "/gradio_api/vibe-code/", "/gradio_api/dev/reload", "/gradio_api/file/etc/passwd",
        "/monitoring", "/monitoring/summary", "/gradio_api/runs", "/gradio_api/run-history/buckets", "/docs", "/openapi.json",
        "/gradio_api/file=/etc/passwd", "/gradio_api/file=etc/passwd", "/gradio_api/file=//etc/passwd", "/gradio_api/file=%00",
        "/gradio_api/file=/proc/self/environ", "/gradio_api/file=" + "a" * 6000, "/gradio_api/file=app.py", "/gradio_api//upload",
        "/gradio_api/run/predict", "/gradio_api/run/embed", "/gradio_api/api/embed",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_the_page_does_not_need_is_not_there(local, path, method):
    assert WEB.request(method, local[2] + path, json={}).status_code in (404, 405)


def test_of_files_only_thumbnails_are_served(local, tmp_path):
    work, _, address = local
    visitor, thumbs = Visitor(address), (work.home / "thumbs").resolve()
    evil = "<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"
    sent = visitor.upload({"a.svg": evil.encode(), "a.html": evil.encode(), "a.webp": b"x"})
    secret = tmp_path / "secret.webp"
    secret.write_text("mine")
    (thumbs / "link.webp").symlink_to(secret)
    (thumbs / "large").mkdir(exist_ok=True)
    for name in ("a.svg", "a.html", "a.js", ".hidden"):
        (thumbs / "large" / name).write_text(evil)
    places = [part["path"] for part in sent] + [secret, thumbs / "link.webp", work.home / "projects" / "local.json"]
    places += [thumbs / "large" / name for name in ("a.svg", "a.html", "a.js", ".hidden")]
    places += [f"{thumbs}/../projects/local.json", f"{thumbs}/large/../../projects/local.json", thumbs, f"{thumbs}/"]
    assert [visitor.status(f"{API}/file={place}") for place in places] == [404] * len(places)


def test_a_saved_file_is_saved_and_never_opened_in_the_page(local):
    work, _, address = local
    path = explore.export_path(work, work.session("local"), "map.html")
    path.write_text("<script>alert(1)</script>")
    answer = WEB.get(address + json.loads(explore.fetched(path))["url"])
    assert answer.status_code == 200 and answer.headers["content-disposition"] == "attachment"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("sandbox")


# A shared machine: nothing of each other's


def test_a_visitor_sees_what_is_theirs(anna):
    assert [anna.visitor.status(url) for url in anna.urls] == [200] * 5


def test_another_visitor_fetches_nothing(anna, ben, public):
    stranger, forged = Visitor(public[2], cookies=False), Visitor(public[2], cookies=False)
    forged.web.cookies.set("byolmeta", anna.session.name)  # the name that stands in her URLs is not her key
    ours = [*anna.urls, f"{API}/file={anna.uploaded}"]
    for visitor in (ben, stranger, forged):
        assert [visitor.status(url) for url in ours] == [404] * 6


def test_another_visitor_cannot_speak_as_her(anna, ben, public):
    """Each of these names her session hash, or the number of an event of hers."""
    theirs, load = anna.visitor.hash, anna.visitor.dependency("drop", "received")["id"]
    queue = public[1]._queue
    queue.pending_event_ids_session.setdefault(theirs, set()).add("her-event")
    body = {"data": [None], "fn_index": load, "session_hash": theirs}
    twice = json.dumps(body | {"session_hash": ben.hash})[:-1] + f', "session_hash": "{theirs}"}}'
    wide = {"content": json.dumps(body).encode("utf-16"), "headers": {"Content-Type": "application/json"}}
    posts = [("queue/join", {"json": body}), ("queue/join", wide)]
    posts += [("call/classify", {"json": body}), ("call/v2/classify", {"json": body | {"images": []}})]
    posts += [("queue/join", {"content": twice, "headers": {"Content-Type": "application/json"}})]
    posts += [("cancel", {"json": {"session_hash": ben.hash, "fn_index": 0, "event_id": "her-event"}})]
    posts += [("cancel", {"json": {"session_hash": theirs, "fn_index": 0, "event_id": "x"}})]
    gets = [
        f"queue/data?session_hash={theirs}",
        f"heartbeat/{theirs}",
        f"call/classify/{theirs}",
        "call/v2/x/her-event",
    ]
    gets += [f"queue/data?session_hash={theirs}&session_hash={ben.hash}"]
    for visitor in (ben, Visitor(public[2], cookies=False)):
        answers = [visitor.web.post(f"{API}/{path}", **sent) for path, sent in posts]
        answers += [visitor.web.get(f"{API}/{path}") for path in gets]
        assert [answer.status_code for answer in answers] == [403] * len(answers)
    assert anna.visitor.web.post(
        f"{API}/cancel", json={"session_hash": theirs, "fn_index": 0, "event_id": "x"}
    ).is_success


def test_another_visitor_cannot_name_her_files(anna, ben, public):
    work = public[0]
    before = len(work.sessions)
    for path in (anna.uploaded, f"{Path(anna.uploaded).parent}/./{Path(anna.uploaded).name}"):
        told = ben.event("drop", "received", sent={"files": [{"path": path, "name": "a.png"}]})
        assert told[0]["status"] == 403
        asked = {"data": [[{"path": path, "meta": {"_type": "gradio.FileData"}}], None]}
        assert ben.web.post(f"{API}/call/classify", json=asked).status_code == 403
    assert len(work.sessions) == before


def test_her_name_and_places_open_nothing(anna, ben, public):
    """The state that names a visitor, her run, her pictures and her project are not for others to choose."""
    work = public[0]
    found = ben.dependency("encoder", "input")
    for where in (
        str(anna.run.folder),
        str(anna.run.encoder),
        anna.run.folder.name,
        "../runs/hers",
        "untrained:" + str(anna.run.folder),
    ):
        last = ben.join({"data": [where, anna.session.name], "fn_index": found["id"]})[-1]
        assert not last["success"] and anna.session.encoder == ""
    mine = ben.name(work, public[1])
    assert mine != anna.session.name and not work.session(mine).source and not work.session(mine).encoder
    for who in (mine, anna.session.name):
        ben.event("pause", "click", [who]), ben.event("stop", "click", [who])
    assert not anna.run.asked("stop") and not anna.run.asked("pause")
    assert str(anna.run.folder) not in [where for _, where in work.encoders(work.session(mine))]


@pytest.mark.parametrize("place", ["/etc", "~", "..", "/proc/self/cwd", "{source}", "file:///etc", "\\\\server\\share"])
def test_no_folder_of_a_shared_machine_can_be_opened_or_written(anna, ben, public, place):
    place = place.format(source=anna.session.source)
    for part, event in (("open", "click"), ("path", "submit")):
        told = json.dumps(ben.event(part, event, [place, None]))
        assert "only on your own computer" in told
    for part, event in (("carry-copy", "click"), ("carry-folder", "submit")):
        assert "only on your own computer" in json.dumps(ben.event(part, event, [place, None]))


def test_limits_are_stated_and_kept(public, monkeypatch):
    work, _, address = public
    visitor = Visitor(address)
    assert "5,000 pictures" in visitor.web.get("/").text and "1 GB" in visitor.web.get("/").text
    part = [("files", ("a.png", b"x" * 5000))]
    monkeypatch.setattr(guard, "HOUR_BYTES", 12_000)
    codes = [visitor.web.post(f"{API}/upload", files=part).status_code for _ in range(3)]
    assert codes == [200, 200, 413]
    assert Visitor(address).web.post(f"{API}/upload", files=part).status_code == 200  # of others it is not taken
    monkeypatch.setattr(guard, "SPARE_BYTES", 1 << 62)
    answer = Visitor(address).web.post(f"{API}/upload", files=part)
    assert answer.status_code == 413 and "no room" in answer.json()["detail"]
    chunks = httpx.post(
        address + API + "/upload", content=iter([b"a", b"b"]), headers={"Content-Type": "multipart/form-data"}
    )
    assert chunks.status_code == 411
    with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as line:
        line.sendall(f"POST {API}/upload HTTP/1.1\r\nHost: x\r\nContent-Length: {10**10}\r\n\r\n".encode())
        assert line.recv(100).startswith(b"HTTP/1.1 413")


def test_calls_of_programs_that_wait_are_bounded_and_the_page_is_not(public):
    """Of one program and of all; those of anna wait in a queue whose turn never comes."""
    from gradio.queueing import Event, EventQueue
    from starlette.requests import Request

    _, demo, address = public
    ben, anna = (Visitor(address, cookies=False) for _ in range(2))
    ben.web.headers["user-agent"], anna.web.headers["user-agent"] = "ben", "anna"
    function = next(each for each in demo.fns.values() if each.api_name == "embed")

    def waiting(agent: str, count: int) -> list:
        scope = {"type": "http", "headers": [(b"user-agent", agent.encode())], "client": ("127.0.0.1", 1)}
        return [Event(None, function, Request(scope), None) for _ in range(count)]

    def codes(visitor: Visitor) -> set[int]:
        empty = {"data": [None, None], "session_hash": visitor.hash}
        posts = [
            ("call/embed", empty),
            ("call/v2/embed", {"pictures": ""}),
            ("queue/join", empty | {"fn_index": function._id}),
        ]
        return {visitor.web.post(f"{API}/{path}", json=body).status_code for path, body in posts}

    held = demo._queue.event_queue_per_concurrency_id["held"] = EventQueue("held", 0)
    try:
        held.queue = waiting("anna", guard.OWN_CALLS)
        assert codes(anna) == {503} and codes(ben) == {200}
        held.queue = [each for number in range(guard.CALLS) for each in waiting(f"caller {number}", 1)]
        assert codes(ben) == {503} and Visitor(address).first()[-1]["success"]
    finally:
        del demo._queue.event_queue_per_concurrency_id["held"]


def test_who_left_leaves_nothing(public, pictures):
    work, demo, address = public
    before = {path for path in work.home.rglob("*") if path.is_file()}
    visitor = Visitor(address)
    files = visitor.upload({path.name: path.read_bytes() for path in sorted(pictures.rglob("*.png"))[-9:]})
    visitor.event("drop", "received", sent={"files": files})
    session = work.session(visitor.name(work, demo))
    work.pictures(session)
    (work.own(session) / "banks").mkdir()
    (work.own(session) / "banks" / "vectors.npy").write_bytes(b"x")
    assert {path for path in work.home.rglob("*") if path.is_file()} - before
    work.leave(names_kept(work, demo))  # the page is open: nothing goes
    assert session.name in work.sessions
    demo.state_holder.session_data.pop(visitor.hash)  # as Gradio does an hour after a page was closed
    work.leave(names_kept(work, demo))
    assert {path for path in work.home.rglob("*") if path.is_file()} <= before and session.name not in work.sessions


def test_a_reload_finds_everything_and_only_the_last_page_takes_it_along(public, pictures):
    work, demo, address = public
    first = Visitor(address)
    first.first()
    name = first.name(work, demo)
    some = sorted(pictures.rglob("*.png"))[2:8]
    first.event("drop", "received", sent={"files": first.upload({p.name: p.read_bytes() for p in some})})
    again, other = Visitor(address), Visitor(address)
    again.web.cookies = first.web.cookies
    again.first(), other.first()
    assert again.name(work, demo) == name != other.name(work, demo)
    demo.state_holder.delete_state(first.hash)
    demo.state_holder.session_data.pop(first.hash)
    assert work.session(name).source and list((work.home / "uploads" / name).iterdir())
    demo.state_holder.delete_state(again.hash)
    assert not (work.home / "uploads" / name).exists()


def test_an_upload_that_cannot_be_opened_leaves_nothing_and_a_later_one_replaces_it(public, pictures):
    work, demo, address = public
    visitor = Visitor(address)
    visitor.event("drop", "received", sent={"files": visitor.upload({"a.png": b"no picture"})})
    assert not [p for p in (work.home / "uploads").rglob("a.png")]
    for number in (0, 5):
        some = sorted(pictures.rglob("*.png"))[number : number + 5]
        visitor.event("drop", "received", sent={"files": visitor.upload({p.name: p.read_bytes() for p in some})})
    assert os.listdir(work.home / "uploads" / visitor.name(work, demo)) == ["2"]


# A name and a password, and --share


@pytest.mark.parametrize("public_rules", [False, True])
def test_with_a_password_nothing_is_had_without_it(tmp_path, public_rules):
    with serving(tmp_path / "home", public=public_rules, auth=("anna", "secret")) as (work, _, address):
        visitor = Visitor(address)
        url = f"{API}/file={(work.home / 'thumbs').resolve() / 'x' / 'about.json'}"
        for path in ("/config", f"{API}/info", f"{API}/queue/data?session_hash=x", url):
            assert visitor.status(path) in (401, 404), path
        for path, sent in STATE_CHANGING:
            if path not in ("/cancel", "/reset"):
                assert visitor.web.post(API + path, **sent).status_code == 401, path
        assert visitor.web.post("/login", data={"username": "anna", "password": "wrong"}).status_code == 400
        assert visitor.web.post("/login", data={"username": "anna", "password": "x" * 10_000}).status_code == 413
        foreign = {"Sec-Fetch-Site": "cross-site"}
        assert (
            visitor.web.post("/login", data={"username": "anna", "password": "secret"}, headers=foreign).status_code
            == 403
        )
        assert visitor.web.post("/login", data={"username": "anna", "password": "secret"}).status_code == 200
        assert visitor.status("/config") == 200


@pytest.mark.parametrize("text, found", [("", None), ("a:b", ("a", "b")), ("a:b:c", ("a", "b:c"))])
def test_auth_is_read(text, found):
    import app

    assert app.name_and_password(text) == found
    for wrong in ("a", ":", "a:", ":b"):
        with pytest.raises(InputError, match="USER:PASSWORD"):
            app.name_and_password(wrong)


def test_share_warns_and_takes_the_rules_of_a_shared_machine(monkeypatch, capsys):
    import app
    from byolmeta import ui

    asked = []
    monkeypatch.setattr(ui, "launch", lambda **values: asked.append(values))
    for flags, rules in (([], False), (["--share"], True), (["--public"], True)):
        monkeypatch.setattr(sys, "argv", ["app.py", *flags])
        app.main()
        assert asked[-1]["public"] is rules
        assert ("anyone who has the link" in capsys.readouterr().err) == ("--share" in flags)


# The guard by itself


def test_a_hash_that_many_others_follow_stays_its_owners():
    visitors = guard.Visitors()
    assert visitors.claim("mine", "anna") and not visitors.claim("mine", "ben")
    for number in range(5 * guard.PAGES):  # more than Gradio keeps pages
        visitors.claim(f"flood-{number}", "ben")
    assert not visitors.claim("mine", "ben")


def test_an_agent_behind_a_proxy_is_answered_and_its_files_are_its_own():
    """Gradio calls its own server for an agent, with the agent's headers, and asks for the answer without them."""
    from starlette.requests import Request

    def asks(*headers: tuple[bytes, bytes]) -> Request:
        return Request({"type": "http", "headers": headers, "client": ("127.0.0.1", 1)})

    agent = asks((b"x-forwarded-for", b"1.2.3.4"), (b"user-agent", b"agent"))
    whose = guard.owner_of(agent)
    again = [pair for pair in guard._handed_on(agent.scope["headers"], whose) if pair[0] != b"user-agent"]
    assert guard.owner_of(asks(*again)) == guard.owner_of(asks()) != whose == guard.caller_of(asks(*again))
    for forged in (f" {whose}", f"{'0' * 32} {whose}", f"é {whose}"):
        assert guard.caller_of(asks((b"x-byolmeta-caller", forged.encode("latin-1")))) == guard.owner_of(asks())
    handed = guard._handed_on([(b"x-byolmeta-caller", b"x y"), (b"cookie", b"a=b")], whose)
    assert [name for name, _ in handed] == [b"x-byolmeta-caller"] and handed[0][1].endswith(whose.encode())


def test_the_cookie_is_for_servers_only_and_works_in_a_frame_over_https(public):
    plain = httpx.get(public[2]).headers["set-cookie"]
    framed = httpx.get(public[2], headers={"X-Forwarded-Proto": "https"}).headers["set-cookie"]
    assert re.fullmatch(r"byolmeta=[0-9a-f]{32}; Path=/; HttpOnly; SameSite=Lax", plain)
    assert framed.endswith("HttpOnly; SameSite=None; Secure; Partitioned")
    kept = httpx.get(public[2], cookies={"byolmeta": secrets.token_hex(16)}).headers.get("set-cookie")
    assert kept is None
