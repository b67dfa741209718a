"""What the page works on: the pictures, the encoder, the boxes and the run of each visitor.

One `Workspace` per app holds the home folder and the loaded things; one `Session` per visitor (a single one in
local mode) holds what was chosen, and is saved as it changes, so that a reload finds everything again.
"""

import contextlib
import functools
import hashlib
import itertools
import json
import os
import re
import secrets
import shutil
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from byolmeta import apart, decode, jobs, samples
from byolmeta.copies import copies_group_ids, descriptors, with_more
from byolmeta.errors import InputError
from byolmeta.files import (
    ARCHITECTURES,
    HISTOGRAM,
    PIXELS,
    UNTRAINED,
    find_encoder,
    image_size_of,
    practice_in_force,
    read_card,
    replace_file,
    starters,
)
from byolmeta.images import ImageStore, open_store, read_image
from byolmeta.runs import Run
from byolmeta.starters import kind_of, suggest
from byolmeta.ui import thumbs, zero
from byolmeta.ui.board import check_boxes, empty_boxes
from byolmeta.ui.line import Line

MOST_EXTRAS = 300  # pictures of their own that a visitor of a shared machine may add
KEPT = 256  # side at which pictures dropped from the desktop are kept
UNPRACTISED = "unpractised"  # 'unpractised:' and a practised encoder: what that one says without its practice
VISITOR = re.compile(r"[0-9a-f]{32}(?![0-9a-f])")  # begins the names of what belongs to one of a shared machine
KEPT_SOURCES = 20  # whose boxes are remembered
EYES, TILES = 6, 2000  # encoders and addresses of thumbnails that are remembered
OPENED, SHARED_OPENED = 8, 64  # folders of pictures that stay opened; those of visitors are small and many
BANKS, BANK_BYTES = 12, 256 << 20  # vectors that stay in memory: the newest, and more while they are small


@dataclass
class Session:
    """What one visitor chose."""

    name: str
    source: str = ""  # folder or zip of pictures; "" stands for the sample
    label: str = ""  # its name on the page
    encoder: str = ""  # file, run folder or shipped name
    boxes: dict = field(default_factory=lambda: empty_boxes(["", ""]))
    extras: int = 0  # pictures dropped from the desktop
    run: str = ""  # the run that the Learn step shows
    learner: str = "anil"
    judged: str = ""  # the run whose verdict has been acted on
    practice: str = ""  # the run of practice that the Learn step shows
    practice_judged: str = ""  # the same for it
    fingerprint: str = ""  # of the pictures that the boxes are about
    names: dict = field(default_factory=dict)  # {id as text: path} of the pictures in boxes, should the folder change
    count: int = 0  # pictures when they were named; ids from here on are extras
    kept: dict = field(default_factory=dict)  # {source: boxes and names} of other pictures, should they come back
    marks: dict = field(default_factory=dict)  # of Locate, as ui/locator/state.js has them
    grouped: list = field(default_factory=list)  # examples that groups of the computer's own put into boxes
    gone: str = ""  # a source that is not there any more, until the page has said so


class Pictures:
    """A visitor's pictures, decoded: at the encoder's size, at the thumbnails' size, and their copies."""

    def __init__(self, store: ImageStore, thumbnails: ImageStore, sheets: dict):
        self.store, self.thumbnails, self.sheets = store, thumbnails, sheets
        self._copies = None

    @property
    def copies(self) -> np.ndarray:
        """(N,) the same number for near copies."""
        if self._copies is None:
            self._copies = copies_group_ids(self.thumbnails, self.descriptors)
        return self._copies

    @functools.cached_property
    def descriptors(self) -> np.ndarray:
        """(N, 256), by which copies of further pictures are found."""
        return descriptors(self.thumbnails.pixels)


class Workspace:
    """The home folder and everything that is loaded from it."""

    def __init__(self, home: Path, public: bool = False):
        self.home, self.public = Path(home), public
        self.token = secrets.token_hex(4)  # apps may share a home
        for name in ("stores", "banks", "runs", "thumbs", "projects", "uploads", "visitors"):
            (self.home / name).mkdir(parents=True, exist_ok=True)
        if public:
            self._sweep()
        self.sessions: dict[str, Session] = {}
        self.opened: dict[tuple, Pictures] = {}
        self.small: dict[tuple, tuple[ImageStore, str]] = {}  # by source: at the thumbnails' size, and their kind
        self.vectors: dict[tuple, np.ndarray] = {}  # newest first
        self.eyes: dict[tuple, object] = {}  # encoders in memory, newest first
        self.sights: dict[
            tuple, object
        ] = {}  # by source and more: pictures with what an encoder sees on them, newest last
        self.tiles: dict[tuple, str] = {}  # by file and time of a visitor's own picture: where its thumbnail is
        self.lock = threading.RLock()  # for the dicts here; slow work holds a lock of its own (`alone`)
        self.locks: dict[tuple, threading.RLock] = {}
        self.numbers = itertools.count(1)
        self.places: dict[str, tuple[str, np.ndarray]] = {}  # by visitor: key of the pictures, last whole map
        self.sheets: dict[str, dict[str, bool]] = {}  # by session: keys of its sheets, and whether they are of uploads
        self.shown: dict[str, dict] = {}  # by visitor: the last points of the map and answers of the board
        self.line = Line(self.home / "runs", start=zero.start if zero.present() else None)  # of a shared machine's runs
        self.layouts = None  # the map worker, started with the app
        self.state_of_who = 0  # the number of Gradio's state that holds the visitor's name
        self.visitors = None  # who owns what on a shared machine, see ui/guard.py
        self.forget_all = self.forget  # deletes what a visitor has in all their sessions
        self.place_of = lambda who: who  # the name of the session that a visitor's page works in; a lesson has its own
        self.limits = decode.SHARED if public else decode.Limits()

    def _sweep(self) -> None:
        """Deletes what visitors of an earlier process left on a shared machine."""
        for run in self._runs_of(""):
            jobs.end(run)
            shutil.rmtree(run.folder, ignore_errors=True)
        places = [self.home / name for name in ("projects", "uploads", "visitors")]
        places += [self.home / "thumbs" / name for name in ("exports", "maps", "large", "single")]
        for path in (path for place in places if place.is_dir() for path in place.iterdir()):
            if VISITOR.match(path.name):
                shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)

    def _runs_of(self, name: str) -> list[Run]:
        """The runs that a visitor of a shared machine began; those of all visitors for ""."""
        found = []
        for run in jobs.list_runs(self.home / "runs"):
            with contextlib.suppress(InputError):  # damaged
                begun_by = str(run.config().get("visitor", ""))
                found += [run] if (begun_by == name if name else VISITOR.match(begun_by)) else []
        return found

    def alone(self, *key) -> threading.RLock:
        """The lock of one piece of slow work: who asks for the same waits for it, nobody else does."""
        with self.lock:
            return self.locks.setdefault(key, threading.RLock())

    def board(self, session: Session) -> threading.RLock:
        """The lock under which a visitor's boxes change: two changes at once would lose one."""
        return self.alone("board", session.name)

    # Sessions

    def session(self, name: str) -> Session:
        """The session of a visitor: as saved, else a new one with the sample and the best starter."""
        name = self.place_of(name)
        with self.lock:
            if name not in self.sessions:
                session = self._saved(name)
                session.extras = next(i for i in itertools.count() if not (self._extras(session) / f"{i}.png").exists())
                if session.count:
                    for box in session.boxes["boxes"]:
                        _renumber(box, {i: i for i in range(session.count + session.extras)})
                if session.encoder and not self._encoder_exists(session.encoder):
                    session.encoder = ""
                self.sessions[name] = session
            return self.sessions[name]

    def _saved(self, name: str) -> Session:
        """A session as it was kept; a new one where it was not, or where the file is damaged, which then stays beside."""
        file = self._project(name)
        try:
            saved = json.loads(file.read_text(encoding="utf-8"))
            session = Session(**{k: v for k, v in saved.items() if k in Session.__dataclass_fields__} | {"name": name})
            _check_saved(session)
            return session
        except OSError:
            pass  # none, or none that can be read
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, InputError):
            with contextlib.suppress(OSError):
                os.replace(file, file.with_suffix(".damaged"))
        return Session(name)

    def save(self, session: Session) -> None:
        """Keeps what was chosen, with the names of the pictures in boxes."""
        found = [p.store.index.paths for p in self.opened.values() if p.store.fingerprint == session.fingerprint]
        if found:
            paths = found[0]
            items = [i for box in session.boxes["boxes"] for i in box["items"] if i < len(paths)]
            items += [mark["row"] for mark in session.marks.get("marks", ()) if mark["row"] < len(paths)]
            session.names, session.count = {str(i): paths[i] for i in items}, len(paths)
        text = json.dumps(asdict(session))
        replace_file(self._project(session.name), lambda path: path.write_text(text, encoding="utf-8"))

    def _project(self, name: str) -> Path:
        return self.home / "projects" / f"{name}.json"

    def forget(self, name: str) -> None:
        """Deletes everything of a visitor who has left a shared machine; a study of theirs is ended."""
        with self.lock:
            session = self.sessions.pop(name, None)
            self.tiles = {key: url for key, url in self.tiles.items() if key[0] != name}
            for kept in (self.places, self.shown):
                kept.pop(name, None)
            uploads = self.home / "uploads" / name
            for kept in ("opened", "small", "sights"):
                of = getattr(self, kept)
                setattr(self, kept, {k: v for k, v in of.items() if not Path(k[0]).is_relative_to(uploads)})
            theirs = {key for key, own in self.sheets.pop(name, {}).items() if own}
            theirs -= {key for others in self.sheets.values() for key in others}  # the same pictures, of somebody else
        for run in {run.folder: run for run in self._runs_of(name) + _runs_shown(session)}.values():
            self.line.leave(run)
            jobs.end(run)
            shutil.rmtree(run.folder, ignore_errors=True)
        places = [uploads, self.home / "visitors" / name]
        places += [self.home / "projects" / f"{name}-{part}" for part in ("exchange", "tidy", "encoders", "extras")]
        places += (self.home / "thumbs" / "exports").glob(f"{name}-*")
        places += [self.home / "thumbs" / key for key in theirs]
        for place in places:
            shutil.rmtree(place, ignore_errors=True)
        drawn = [
            file for part in ("maps", "large", "single") for file in (self.home / "thumbs" / part).glob(f"{name}-*")
        ]
        for file in [self._project(name), *drawn]:
            file.unlink(missing_ok=True)

    def leave(self, present: set[str]) -> None:
        """Forgets all visitors of a shared machine who are not among those still here (the names that Gradio keeps)."""
        with self.lock:
            names = {whose.group() for name in self.sessions if (whose := VISITOR.match(name))}
        for name in names - present:
            self.forget_all(name)

    def own(self, session: Session, where: str = "") -> Path:
        """The home of decoded pictures, and of their vectors by an encoder.

        On a shared machine each visitor's own, save for the samples as the starters and baselines see them.
        """
        source, uploads = self.source(session), self.home / "uploads"
        if self.public and source.is_relative_to(uploads):
            return self.home / "visitors" / source.relative_to(uploads).parts[0]
        everybodys = {"", PIXELS, HISTOGRAM, UNTRAINED, *ARCHITECTURES, *starters()}
        name, _, model = where.partition(":")
        if not self.public or where in everybodys or (name in (UNTRAINED, UNPRACTISED) and model in everybodys):
            return self.home
        return self.home / "visitors" / session.name

    def sheets_of(self, name: str) -> set[str]:
        """The keys of the sheets of thumbnails that a visitor's pages show."""
        with self.lock:
            return {key for place, keys in self.sheets.items() if place.startswith(name) for key in keys}

    # Pictures

    def pictures(self, session: Session, progress=None) -> Pictures:
        """The decoded pictures of a session, from memory or disk, or made now."""
        self._small(session, progress)
        key = source, size, _ = self._key(session)
        with self.alone("pictures", source, size):
            found = self.opened.get(key)
            if found is None:
                stores = self.own(session) / "stores"
                store = open_store(source, stores, size, limits=self.limits, progress=progress)
                small = open_store(source, stores, thumbs.TILE, limits=self.limits)  # it may have changed
                found = Pictures(store, small, thumbs.sheets(small, self.home / "thumbs"))
                with self.lock:
                    kept = SHARED_OPENED if self.public else OPENED
                    self.opened = {key: found} | dict(list(self.opened.items())[:kept])
            if self.sessions.get(session.name) is session:
                own = Path(source).is_relative_to(self.home / "uploads")
                with self.lock:
                    self.sheets.setdefault(session.name, {})[found.sheets["key"]] = own
            self._follow(session, found.store)
            return found

    def _small(self, session: Session, progress=None) -> tuple[ImageStore, str]:
        """A session's pictures at the thumbnails' size, and their kind. All sizes that may follow are decoded with them."""
        source = self.source(session)
        key = str(source), _stamp(source)
        with self.alone("pictures", key[0]):
            if key not in self.small:
                sizes = self._sizes(session)
                stores = self.own(session) / "stores"
                found = open_store(source, stores, thumbs.TILE, also=sizes, limits=self.limits, progress=progress)
                with self.lock:
                    self.small = {key: (found, kind_of(found.pixels))} | dict(list(self.small.items())[:8])
            return self.small[key]

    def _sizes(self, session: Session) -> list[int]:
        """The picture sizes of the starters and of the session's encoder, of those that can be read."""
        sizes = set()
        for name in (*starters(), session.encoder or UNTRAINED):
            with contextlib.suppress(InputError):  # a damaged file
                sizes.add(image_size_of(name))
        return sorted(size for size in sizes if 4 <= size <= 1024)

    def encoder_kind(self, session: Session) -> str:
        """The kind of pictures that the session's encoder is made for; the untrained one takes them as they are."""
        where = self.encoder(session)
        return self.kind(session) if where == UNTRAINED else read_card(find_encoder(where)).get("kind", "photos")

    def kind(self, session: Session) -> str:
        """Whether a session's pictures are photos or drawings; photos where they cannot be opened."""
        try:
            return self._small(session)[1]
        except InputError:
            return "photos"

    def _key(self, session: Session) -> tuple:
        """Of the opened pictures: source, size, and a stamp that changes with a zip or a flat folder."""
        source = self.source(session)
        return str(source), self.image_size(session), _stamp(source)

    def _follow(self, session: Session, store: ImageStore) -> None:
        """Pictures were added or removed since the boxes were filled: their ids become those of the same names."""
        with self.alone("follow", session.name):
            if session.fingerprint != store.fingerprint:  # nobody else did it meanwhile
                self._renumber_all(session, store)

    def _renumber_all(self, session: Session, store: ImageStore) -> None:
        rows = {path: row for row, path in enumerate(store.index.paths)}
        now = {int(old): rows[path] for old, path in session.names.items() if path in rows}
        now |= {session.count + i: len(store) + i for i in range(session.extras)}
        if session.fingerprint:
            for box in session.boxes["boxes"]:
                _renumber(box, now)
            session.boxes["rev"] += 1
            if session.marks:
                there = [mark | {"row": now[mark["row"]]} for mark in session.marks["marks"] if mark["row"] in now]
                session.marks = session.marks | {"rev": session.marks["rev"] + 1, "marks": there}
            session.names = {str(rows[path]): path for path in session.names.values() if path in rows}
            session.count, session.grouped = len(store), []
        session.fingerprint = store.fingerprint
        if self.sessions.get(session.name) is session:
            self.save(session)

    def source(self, session: Session) -> Path:
        """The folder or zip that a session's pictures are in."""
        return Path(session.source) if session.source else samples.sample_folder("creatures", self.home)

    def choose(self, session: Session, source: Path | str, label: str, progress=None) -> None:
        """Changes the pictures. Boxes filled with them before come back; those of the others are kept."""
        self.pictures(
            Session("check", source=str(source), encoder=session.encoder), progress
        )  # InputError before a change
        self._change_source(session, str(source), label)

    def _change_source(self, session: Session, source: str, label: str) -> None:
        self.save(session)
        boxes, rev = session.boxes["boxes"], session.boxes["rev"]
        for box in boxes:
            _renumber(box, {i: i for i in range(session.count)})  # extras belong to no source
        session.kept.pop(session.source, None)
        kept = {"boxes": boxes, "names": session.names, "count": session.count, "fingerprint": session.fingerprint}
        kept["marks"], marks_rev = session.marks, session.marks.get("rev", 0)
        studied = session.encoder if session.encoder and session.encoder not in (*starters(), UNTRAINED) else ""
        if studied or session.marks.get("marks") or any(box["items"] for box in boxes):
            session.kept = dict([*session.kept.items(), (session.source, kept | {"studied": studied})][-KEPT_SOURCES:])
        back = session.kept.get(source) or {"boxes": empty_boxes(["", ""])["boxes"]}
        shutil.rmtree(self._extras(session), ignore_errors=True)
        session.source, session.label, session.extras, session.grouped = source, label, 0, []
        session.boxes = {"boxes": back["boxes"], "rev": rev + 1}
        session.names, session.count = back.get("names", {}), back.get("count", 0)
        session.marks = back["marks"] | {"rev": marks_rev + 1} if back.get("marks") else {}
        session.fingerprint = back.get("fingerprint", "")
        if session.encoder != UNTRAINED:
            session.encoder = ""  # what suits some pictures, or learned from them, is not taken to others unasked
        if back.get("studied") and self._encoder_exists(back["studied"]):
            session.encoder = back["studied"]
        self.save(session)

    def leave_gone(self, session: Session) -> None:
        """Goes back to the sample if the session's pictures are not there any more (`session.gone` says which)."""
        if session.source and not os.path.exists(session.source):
            session.gone = session.source
            self._change_source(session, "", "")

    def receive(self, session: Session, files: list[tuple[str, str]]) -> Path:
        """Keeps uploaded files as (path, name with folders); returns the folder, or the zip if it is just one."""
        base = self.home / "uploads" / session.name
        with self.alone("uploads", session.name):
            folder = base / str(next(n for n in itertools.count(1) if not (base / str(n)).exists()))
            folder.mkdir(parents=True)
        for number, (path, name) in enumerate(files):
            parts = [clean for part in name.replace("\\", "/").split("/") if (clean := _file_name(part))] or ["picture"]
            target = folder.joinpath(*parts[-4:])
            if target.exists():
                target = target.with_name(f"{number}-{target.name[-200:]}")
            target.parent.mkdir(parents=True, exist_ok=True)
            _put(path, target)
        single = list(folder.iterdir())
        return single[0] if len(single) == 1 and single[0].suffix.lower() == ".zip" else folder

    @contextlib.contextmanager
    def received(self, session: Session, files: list[tuple[str, str]]) -> Iterator[Path]:
        """`receive` for as long as the files can be used: where that fails nothing of them stays.

        On a shared machine the visitor's earlier uploads go once these are in use.
        """
        source = self.receive(session, files)
        base = self.home / "uploads" / session.name
        folder = base / source.relative_to(base).parts[0]
        try:
            yield source
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        if self.public:
            for earlier in base.iterdir():
                if earlier != folder:
                    shutil.rmtree(earlier, ignore_errors=True)
            self._drop_all_but(source, self.own(session))

    def _drop_all_but(self, source: Path, home: Path) -> None:
        """Removes what a visitor's home holds of pictures other than those of one source."""
        with self.lock:
            mine = [found.store for key, found in self.opened.items() if key[0] == str(source)]
        signatures = {Path(store.pixels.filename).parent.name.rpartition("-")[0] for store in mine}
        for store in (home / "stores").glob("*-*"):
            if store.name.rpartition("-")[0] not in signatures:
                shutil.rmtree(store, ignore_errors=True)
        for bank in (home / "banks").glob("*.npy"):  # made again where they are wanted
            bank.unlink(missing_ok=True)

    def read(
        self, picture: Path | str | bytes | Image.Image, size: int, limits: decode.Limits | None = None
    ) -> np.ndarray:
        """A picture that comes alone, uint8 (3, size, size); on a shared machine files are read in a process of their own."""
        reader = apart.square if self.public and not isinstance(picture, Image.Image) else read_image
        return reader(picture, size, limits or self.limits)

    def add_extra(self, session: Session, picture, size: int = KEPT) -> int:
        """Keeps one picture dropped from the desktop, or recorded, at a size of its side; returns its id."""
        pixels = self.read(picture, size)
        folder = self._extras(session)
        with self.alone("extras", session.name):
            folder.mkdir(parents=True, exist_ok=True)
            number = session.extras
            Image.fromarray(pixels.transpose(1, 2, 0)).save(folder / f"{number}.png")
            session.extras += 1
            self.save(session)
        return len(self.pictures(session).store) + number

    def room_for_extras(self, session: Session, count: int) -> None:
        """Raises InputError where a visitor of a shared machine would have more than MOST_EXTRAS pictures of their own."""
        if self.public and session.extras + count > MOST_EXTRAS:
            raise InputError(
                f"You have added {session.extras} pictures and {count} more would be over {MOST_EXTRAS}, the most that this "
                "shared computer keeps. Choose your pictures once more under Pictures to start over, or use your own computer."
            )

    def copies(self, session: Session) -> np.ndarray:
        """(N + extras,) the same number for near copies, those among a visitor's own pictures included."""
        found = self.pictures(session)
        if not session.extras:
            return found.copies
        kept, stamps = self.seen(session), self._extras_stamp(session)
        if kept.get("copies_of") != (found.store.fingerprint, stamps):
            size = found.thumbnails.size
            more = np.stack([self._extra(session, i, size) for i in range(len(stamps))])
            kept["copies"] = with_more(found.copies, found.descriptors, descriptors(more))
            kept["copies_of"] = found.store.fingerprint, stamps
        return kept["copies"]

    def extras(self, session: Session) -> list[dict]:
        """The `extras` of the board."""
        first = len(self.pictures(session).store)
        stamps = self._extras_stamp(session)
        return [
            {"id": first + i, "url": self._tile(session, i, stamp), "name": f"+{i + 1}"}
            for i, stamp in enumerate(stamps)
        ]

    def _tile(self, session: Session, number: int, stamp: int) -> str:
        """URL of the thumbnail of a visitor's own picture; drawn once."""
        key = session.name, number, stamp
        if key not in self.tiles:
            url = thumbs.one(self._extra(session, number, thumbs.TILE), self.home / "thumbs", session.name)
            with self.lock:
                self.tiles = {key: url} | dict(list(self.tiles.items())[:TILES])
        return self.tiles[key]

    def _extra(self, session: Session, number: int, size: int) -> np.ndarray:
        return read_image(self._extras(session) / f"{number}.png", size)

    def pixels(self, session: Session, ids: np.ndarray) -> np.ndarray:
        """Pictures at the encoder's size, uint8 (n, 3, S, S), by id: those of the folder, then the visitor's own."""
        store = self.pictures(session).store
        return np.stack(
            [store.pixels[i] if i < len(store) else self._extra(session, i - len(store), store.size) for i in ids]
        )

    def tidy_folder(self, session: Session) -> Path:
        """Where the visitor's decisions about a source's pictures are kept."""
        mark = hashlib.sha256(os.fsencode(self.source(session))).hexdigest()[:16]
        return self.home / "projects" / f"{session.name}-tidy" / mark

    def _extras(self, session: Session) -> Path:
        return self.home / "projects" / f"{session.name}-extras"

    # Encoders and vectors

    def encoders(self, session: Session) -> list[tuple[str, str]]:
        """(name on the page, where) of what a visitor can choose: starters, runs, newest first, those of project files.

        On a shared machine, of the runs only the visitor's own. Practice without a gain left the encoder as it was.
        """
        runs = [run for run in jobs.list_runs(self.home / "runs") if run.encoder.exists()]
        if self.public:
            runs = [run for run in runs if str(run.folder) in (session.run, session.practice)]
        runs = [run for run in runs if not self._practised_in_vain(run)]
        named = [(name, name) for name in starters()] + [(run.folder.name, str(run.folder)) for run in runs]
        return named + [(file.stem, str(file)) for file in sorted(self.imported(session).glob("project-*.safetensors"))]

    def imported(self, session: Session) -> Path:
        """Where the encoders of project files are put; on a shared machine each visitor's own."""
        return self.home / "projects" / f"{session.name}-encoders" if self.public else self.home / "encoders"

    def encoder(self, session: Session) -> str:
        """Where the session's encoder is: the chosen one, else the starter that suits, else the untrained network."""
        chosen = session.encoder if self._encoder_exists(session.encoder) else ""  # a run's folder may be deleted
        return chosen or self.starter(session) or UNTRAINED

    def card(self, where: str) -> dict:
        """The card of an encoder; empty for a baseline and for a file that is damaged."""
        with contextlib.suppress(InputError):
            return {} if where.partition(":")[0] in (PIXELS, UNTRAINED, UNPRACTISED) else read_card(find_encoder(where))
        return {}

    def practised(self, where: str) -> dict:
        """What the card says of the practice that is in force; empty where there is none."""
        return practice_in_force(self.card(where))

    def parent(self, where: str) -> str:
        """The file of the encoder that one practised with; "" where that is not known."""
        with contextlib.suppress(InputError):
            return str(Run(where).config().get("encoder_file", ""))
        return ""

    def _practised_in_vain(self, run: Run) -> bool:
        """Whether a run of practice brought no gain, or none yet; its file may still hold the gain of an earlier one."""
        return bool(self.parent(str(run.folder))) and not (run.status().get("result") or {}).get("gain")

    def untrained(self, session: Session) -> str:
        """The baseline of the encoder's shape that learned nothing."""
        where = self.encoder(session)
        return where if where == UNTRAINED else f"{UNTRAINED}:{where}"

    def starter(self, session: Session) -> str | None:
        """The shipped encoder that suits a session's pictures and this machine."""
        return suggest(self.kind(session))

    def encoder_name(self, session: Session) -> str:
        return Path(self.encoder(session)).name

    def _encoder_exists(self, where: str) -> bool:
        with contextlib.suppress(InputError):
            return bool(where) and (where == UNTRAINED or find_encoder(where).exists())
        return False

    def image_size(self, session: Session) -> int:
        return image_size_of(self.encoder(session))

    def bank(self, session: Session, where: str | None = None, progress=None) -> np.ndarray:
        """Vectors (N + extras, D) of a session's pictures by its encoder, by another one, one without its practice, or a baseline."""
        import torch

        from byolmeta import features

        where = where or self.encoder(session)
        kind, _, model = where.partition(":")
        file = model if kind == UNPRACTISED else where
        pictures = self.pictures(session)
        key = (where, self._encoder_stamp(where), pictures.store.fingerprint, pictures.store.size)
        with self.alone("bank", *key):
            if key not in self.vectors:
                before = torch.get_num_threads()  # Teach works with one, for its small tensors
                torch.set_num_threads(features.threads())
                bank = features.encoder_bank(
                    file, pictures.store, self.own(session, where) / "banks", progress, practised=kind != UNPRACTISED
                )
                torch.set_num_threads(before)
                self._remember(key, bank.vectors)
            vectors = self.vectors[key]
            if not session.extras:
                return vectors
            stamps = self._extras_stamp(session)
            longer = (*key, session.name, stamps)
            if longer not in self.vectors:
                before = [(*key, session.name, stamps[:n]) for n in range(len(stamps) - 1, 0, -1)]
                shorter = next((each for each in before if each in self.vectors), None)
                known = len(shorter[-1]) if shorter else 0
                some = [self._extra(session, i, pictures.store.size) for i in range(known, len(stamps))]
                more = self._see(session, where, np.stack(some))
                with self.lock:
                    vectors = self.vectors.pop(shorter, vectors)
                self._remember(longer, np.concatenate([vectors, more]))
            return self.vectors[longer]

    def _see(self, session: Session, where: str, pixels: np.ndarray) -> np.ndarray:
        """Vectors of pictures, uint8 (N, 3, S, S), that belong beside a session's, as `bank` has those."""
        from byolmeta import features

        return features.raw_pixels(pixels) if where == PIXELS else features.embed(self.eye(session, where), pixels)

    def eye(self, session: Session, where: str | None = None):
        """An encoder in memory, the session's by default, as `bank` uses it; a newer file is read again."""
        from byolmeta import features

        where, store = where or self.encoder(session), self.pictures(session).store
        kind, _, model = where.partition(":")
        calibrated = store.fingerprint if kind == UNTRAINED else ""
        key = where, self._encoder_stamp(where), calibrated, store.size
        with self.alone("eye", *key):
            if key not in self.eyes:
                encoder = features.open_encoder(model if kind == UNPRACTISED else where, store)
                encoder.practice = None if kind == UNPRACTISED else encoder.practice
                with self.lock:
                    self.eyes = {key: encoder} | dict(list(self.eyes.items())[:EYES])
            return self.eyes[key]

    def _remember(self, key: tuple, vectors: np.ndarray) -> None:
        with self.lock:
            kept, room = {key: vectors}, BANK_BYTES
            for number, (other, bank) in enumerate(self.vectors.items()):
                room -= bank.nbytes
                if number < BANKS or room > 0:
                    kept[other] = bank
            self.vectors = kept

    def _encoder_stamp(self, where: str) -> int:
        """Changes when an encoder file does: a run goes on writing its own."""
        name, _, model = where.partition(":")
        where = model if name in (UNTRAINED, UNPRACTISED) else where
        return 0 if where in ("", PIXELS, *ARCHITECTURES) else os.stat(find_encoder(where)).st_mtime_ns

    def _extras_stamp(self, session: Session) -> tuple:
        return tuple(os.stat(self._extras(session) / f"{i}.png").st_mtime_ns for i in range(session.extras))

    # What the page shows

    def seen(self, session: Session) -> dict:
        """What a visitor's page shows, by name: of the pictures and the encoder of now, others begin anew."""
        mark = self.pictures(session).store.fingerprint, self.encoder(session)
        with self.lock:
            if self.shown.get(session.name, {}).get("of") != mark:
                self.shown[session.name] = {"of": mark}
            return self.shown[session.name]

    def arrived(self, session: Session) -> None:
        """The page begins to show the session's pictures: nothing stays of an encoder file that was written anew."""
        stamp = self._encoder_stamp(self.encoder(session))
        if self.seen(session).setdefault("stamp", stamp) != stamp:
            self.shown.pop(session.name)
            self.seen(session)["stamp"] = stamp

    def points(
        self,
        session: Session,
        key: str,
        places: np.ndarray,
        stage: str,
        near: np.ndarray | None,
        ids: np.ndarray | None = None,
    ) -> dict:
        """The `points` descriptor of pictures whose sheets have a key; its files go to thumbs/maps under a name that is
        used again."""
        number = next(self.numbers)
        points = {
            "url": self.file(session, places.astype(np.float32), f"{number % 8}-xy"),
            "seq": number,
            "n": len(places),
            "key": key,
            "stage": stage,
            "ids": None if ids is None else self.file(session, ids.astype(np.uint32), f"{number % 8}-ids"),
            "neighbours": None if near is None else self.file(session, near.astype(np.uint32), f"{number % 8}-near"),
            "k": 0 if near is None else near.shape[1],
        }
        return points

    def file(self, session: Session, array: np.ndarray, name: str) -> str:
        """URL of an array as a file of a session's map; the same name is used again."""
        return thumbs.binary(array, self.home / "thumbs", f"{session.name}-{self.token}-{name}")


def _check_saved(session: Session) -> None:
    """Raises one of several errors unless every field of a session that was kept is of its own kind."""
    usual = Session("")
    if any(type(getattr(session, key)) is not type(value) for key, value in vars(usual).items()):
        raise TypeError("a field is of another type")
    for each in (vars(session), *session.kept.values()):
        boxes = each["boxes"] if isinstance(each["boxes"], dict) else {"rev": 0, "boxes": each["boxes"]}
        check_boxes(boxes, 2**53)
        names, count = each.get("names", {}), each.get("count", 0)
        if type(count) is not int or not all(key.isdecimal() and isinstance(path, str) for key, path in names.items()):
            raise TypeError("the names of pictures are of another type")
    if not all(type(row) is int for row in session.grouped):
        raise TypeError("the groups are of another type")


def _runs_shown(session: Session | None) -> list[Run]:
    """The study and the practice that a session shows."""
    return [Run(run) for run in filter(None, (session.run, session.practice) if session else ())]


def _put(path: str, target: Path) -> None:
    """A file that Gradio received under another name too; without a second copy where the disk allows."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)


def _renumber(box: dict, now: dict[int, int]) -> None:
    """Gives the pictures of a box their new ids, by the old ones; those that have none leave it."""
    for key in ("items", "muted"):
        if key in box:
            box[key] = [now[i] for i in box[key] if i in now]


def _file_name(part: str) -> str:
    """A part of a path that a browser sent, as one that a file can have; "" for none, and for . and .."""
    part = "".join(c for c in part if c >= " " and c != "\x7f" and (os.name != "nt" or c not in '<>:"|?*'))
    part = part.encode("utf-8", "replace").decode()
    while len(part.encode()) > 200:
        part = part[1:]  # the ending is what tells a picture
    return part if part.strip(" .") else ""


def _stamp(source: Path) -> int:
    """Changes when a zip or a flat folder changes; a deeper change is seen when the folder is opened again."""
    try:
        return os.stat(source).st_mtime_ns
    except OSError:
        raise InputError(f"There are no pictures at '{source}'. Check the path.") from None
