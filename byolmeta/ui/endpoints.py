"""What programs may call over HTTP, and agents as MCP tools: named endpoints that do what the commands of those names do.

A picture is a file that was sent to the server, or a data: URL in the call itself, whose name is then its number in the list.
"""

import base64
import contextlib
import functools
import inspect
import json
import shutil
import tempfile
import traceback
from pathlib import Path

import gradio as gr
import numpy as np
from gradio import FileData

from byolmeta import apart
from byolmeta.errors import InputError
from byolmeta.files import starters
from byolmeta.images import check_side
from byolmeta.starters import suggest
from byolmeta.ui import guard, teach
from byolmeta.ui.verbs import (
    WORDS,
    check_tasks,
    choice,
    encoder_of,
    file_of,
    pictures_of,
    practised,
    ran,
    seed_of,
    studied,
    within,
)
from byolmeta.ui.workspace import Workspace

MOST = 500  # pictures in one call
MAKING = ("pretrain", "metatrain", "export", "import")  # verbs whose answer is an encoder
Pictures = FileData | str
Encoder = FileData | str


def connect(work: Workspace) -> None:
    """Adds the endpoints to the page that is being built."""

    def classify(images: list[FileData], project: FileData | None = None) -> list[dict]:
        """Sort pictures into taught classes.

        Args:
            images: the pictures, up to 500; each also as a data: URL or, where the page runs on one's own computer, as a path
            project: a project file NAME.byolmeta in the same way; left out, the boxes of the page, where it runs on one's own computer
        """
        return classified(work, images, project)

    def detect(
        images: list[FileData], examples: list[FileData], boxes: dict, encoder: str = "", threshold: float = 0.0
    ) -> list[dict]:
        """Find things in pictures from a few drawn boxes.

        Args:
            images: the pictures to look through, up to 500; each also as a data: URL or, on one's own computer, as a path
            examples: the pictures that boxes are drawn on, by the names that `boxes` has
            boxes: COCO-style: images (id, file_name), annotations (image_id, category_id, bbox), categories (id, name)
            encoder: a shipped encoder; left out, the one that suits photos
            threshold: how sure a box must be at least, 0 to 1
        """
        return detected(work, images, examples, boxes, encoder, threshold)

    def segment(
        images: list[FileData],
        examples: list[FileData],
        masks: list[FileData] | None = None,
        tags: list[str] | None = None,
        encoder: str = "",
    ) -> list[dict]:
        """Outline things in pictures from a few masks or tags.

        Args:
            images: the pictures to outline things in, up to 500; each also as a data: URL or, on one's own computer, as a path
            examples: the pictures that show what to outline
            masks: a mask for each example, in their order: 0 is background, each other value or colour a class
            tags: or for each example what it shows; `none` where it shows none of the things
            encoder: a shipped encoder; left out, the one that suits photos
        """
        return segmented(work, images, examples, masks, tags, encoder)

    def embed(pictures: Pictures, encoder: Encoder = "", request: gr.Request = None) -> tuple[dict, FileData]:
        """Turn pictures into vectors: a summary, and a NumPy file (npz) with vectors, paths, labels and class_names.

        Args:
            pictures: a zip, also as a data: URL; where the page runs on one's own computer also the path of a folder
            encoder: a shipped one (photos-small ...), pixels, histogram, untrained, or an encoder file; left out, the one that suits photos
        """
        asked = [encoder_of(work, encoder), pictures_of(work, pictures)]
        return ran(work, caller_of(request), "embed", asked, "bank.npz")

    def map(
        pictures: Pictures, encoder: Encoder = "", dots: bool = False, seed: int = 0, request: gr.Request = None
    ) -> tuple[dict, FileData]:
        """Draw a UMAP map of pictures: a summary, and one page (HTML) that works offline.

        Args:
            pictures: a zip, also as a data: URL; where the page runs on one's own computer also the path of a folder
            encoder: a shipped one (photos-small ...), pixels, histogram, untrained, or an encoder file; left out, the one that suits photos
            dots: no pictures in the page
            seed: of what is drawn by chance
        """
        asked = [encoder_of(work, encoder), pictures_of(work, pictures)]
        return ran(work, caller_of(request), "map", asked, "map.html", dots=dots is True, seed=seed_of(seed))

    def fewshot(
        pictures: Pictures,
        encoder: Encoder = "",
        way: int = 5,
        shot: int = 1,
        query: int = 0,
        episodes: int = 200,
        learner: str = "prototype",
        seed: int = 0,
        request: gr.Request = None,
    ) -> dict:
        """N-way K-shot accuracy over many tasks drawn from class folders, with its 95 % interval.

        Args:
            pictures: class folders; a zip, also as a data: URL; where the page runs on one's own computer also the path of a folder
            encoder: a shipped one (photos-small ...), pixels, histogram, untrained, or an encoder file; left out, the one that suits photos
            way: classes in a task
            shot: examples of each class
            query: other pictures of each class that are asked; 0: up to 15
            episodes: tasks
            learner: prototype, ridge, linear, anil, metasgd or auto; on one's own computer also maml and finetune
            seed: of the tasks
        """
        check_tasks(work, way, shot, query, episodes, learner)
        numbers = {"way": way, "shot": shot, "query": query, "episodes": episodes, "seed": seed_of(seed)}
        asked = [encoder_of(work, encoder), pictures_of(work, pictures)]
        return ran(work, caller_of(request), "fewshot", asked, learner=learner, **numbers)[0]

    def evaluate(
        train: Pictures,
        test: Pictures,
        encoder: Encoder = "",
        protocol: str = "knn,linear",
        features: str = "readout",
        seed: int = 0,
        request: gr.Request = None,
    ) -> dict:
        """Top-1 accuracy of an encoder on class folders: k nearest neighbours, linear probe, fine-tuning.

        Args:
            train: class folders to learn from; a zip, also as a data: URL; where the page runs on one's own computer also the path of a folder
            test: class folders of the same names to ask, in the same way
            encoder: a shipped one (photos-small ...), pixels, histogram, untrained, or an encoder file; left out, the one that suits photos
            protocol: of knn, linear and (on one's own computer) finetune, with commas
            features: readout, or encoder as the literature has them
            seed: of what is drawn by chance
        """
        known = ("knn", "linear") if work.public else ("knn", "linear", "finetune")
        names = {choice(name.strip(), known, "protocol"): None for name in str(protocol).split(",")}  # each once
        more = {"features": choice(features, ("readout", "encoder"), "features"), "seed": seed_of(seed)}
        asked = [encoder_of(work, encoder), pictures_of(work, train), pictures_of(work, test)]
        return ran(work, caller_of(request), "evaluate", asked, protocol=",".join(names), **more)[0]

    def export(encoder: Encoder = "", request: gr.Request = None) -> tuple[dict, FileData]:
        """Write an encoder, or the classifier of a project file, as an ONNX file.

        Args:
            encoder: a shipped encoder, an encoder file, or a project file NAME.byolmeta
        """
        return ran(work, caller_of(request), "export", [encoder_of(work, encoder)], "encoder.onnx")

    def import_encoder(checkpoint: FileData, image_size: int = 0, request: gr.Request = None) -> tuple[dict, FileData]:
        """Make an encoder file of a checkpoint of lightly, solo-learn, byol-pytorch, timm or torchvision.

        Args:
            checkpoint: a .pt, .pth, .ckpt or .safetensors file
            image_size: side of the pictures; 0: 224, or 32 for the 3x3 stem of CIFAR
        """
        size = within(image_size, 0, 1024, "image_size")
        return ran(
            work, caller_of(request), "import", [file_of(work, checkpoint)], "encoder.safetensors", image_size=size
        )

    def pretrain(
        pictures: Pictures,
        encoder: Encoder = "",
        minutes: float = 2.0,
        kind: str = "photos",
        seed: int = 0,
        request: gr.Request = None,
    ) -> tuple[dict, FileData]:
        """Learn from pictures by BYOL. Answers how far it is every second, at the end the figures and the encoder file.

        Args:
            pictures: a zip, also as a data: URL; where the page runs on one's own computer also the path of a folder; labels are not used
            encoder: to go on from: a shipped one or an encoder file; `untrained` for none; left out, the one that suits photos
            minutes: the time to spend; on a shared computer at most 2, after those who wait
            kind: photos or drawings, where it begins from nothing
            seed: of what is drawn by chance
        """
        init = encoder_of(work, encoder)
        yield from studied(work, caller_of(request), pictures_of(work, pictures), init, minutes, kind, seed_of(seed))

    def metatrain(
        pictures: Pictures,
        encoder: Encoder = "",
        tasks: str = "pseudo",
        learner: str = "anil",
        seed: int = 0,
        request: gr.Request = None,
    ) -> tuple[dict, FileData]:
        """Practise with small puzzles (meta-training). Answers as pretrain; without a gain the encoder stays as it was.

        Args:
            pictures: a zip, also as a data: URL; where the page runs on one's own computer also the path of a folder
            encoder: to practise with: a shipped one or an encoder file; left out, the one that suits photos
            tasks: pseudo (from the pictures alone), clusters, twins, or labels (from class folders)
            learner: prototype, ridge, anil or metasgd
            seed: of what is drawn by chance
        """
        file = encoder_of(work, encoder)
        yield from practised(work, caller_of(request), pictures_of(work, pictures), file, tasks, learner, seed_of(seed))

    for function in (classify, detect, segment):
        gr.api(_sentences(function), api_name=function.__name__, concurrency_limit=2 if function is classify else 1)
    for function in (embed, map, fewshot, evaluate, export, import_encoder):
        name = function.__name__.partition("_")[0]  # import is a word of Python's own
        gr.api(_sentences(function), api_name=name, concurrency_limit=1, concurrency_id="verbs")
    for function in (pretrain, metatrain):
        gr.api(_sentences(function), api_name=function.__name__, concurrency_limit=8)


def only_reading(demo: gr.Blocks) -> None:
    """Leaves agents (MCP) those verbs alone that make nothing which lasts, see also guard.check_tool; programs have all."""
    for event in demo.fns.values():
        if event.api_name in MAKING:
            event.fn._mcp_type = "none"  # by which Gradio tells tools from what else an agent may use


def caller_of(request: gr.Request | None) -> str:
    """Who calls, as the guard tells visitors apart."""
    return guard.caller_of(request.request) if request and request.request else ""


@contextlib.contextmanager
def _in_sentences():
    """InputError as the sentence that a client raises, and a bug as that it is one."""
    try:
        yield
    except InputError as problem:
        raise gr.Error(str(problem), print_exception=False) from None
    except Exception:  # its trace goes to the terminal
        traceback.print_exc()
        raise gr.Error(WORDS["bug"], print_exception=False) from None


def _sentences(function):
    """The function, or generator, with its problems as sentences."""
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def shown(*values):
            with _in_sentences():
                yield from function(*values)
    else:

        @functools.wraps(function)
        def shown(*values):
            with _in_sentences():
                return function(*values)

    return shown


def classified(work: Workspace, images: list[dict], project: dict | None) -> list[dict]:
    """For each picture {name, label, score, none_of_these} as `classify` on the command line has them, in their order."""
    import torch

    from byolmeta import features
    from byolmeta.classifier import rows_of

    _check_count(images)
    if project is None and work.public:
        raise InputError(
            "No project file is sent. A shared computer keeps no boxes for programs; send one as `project`."
        )
    if project is None:
        session = work.session("local")
        where = work.encoder(session)
        encoder, classifier = work.eye(session, where), teach.classifier_of(work, session, where)
    else:
        with tempfile.TemporaryDirectory() as folder:
            encoder, classifier = _opened(work, _file(work, project, 0, Path(folder))[0])
            check_side(encoder.image_size, work.limits)
    with tempfile.TemporaryDirectory() as folder:
        files = [_file(work, image, number, Path(folder)) for number, image in enumerate(images)]
        pixels = np.stack([work.read(path, encoder.image_size) for path, _ in files])
    answer = classifier.sort(torch.from_numpy(features.embed(encoder, pixels)))
    rows = rows_of([name for _, name in files], answer, classifier.names)
    return [{"name": row.pop("path")} | row for row in rows]  # clients take a "path" for a file to fetch


def detected(work: Workspace, images, examples, boxes, encoder, threshold) -> list[dict]:
    """COCO results with `file_name`, as the command `detect` writes them."""
    from byolmeta.locate import detect_folder

    if not isinstance(boxes, dict) or type(threshold) not in (int, float) or not 0 <= threshold <= 1:
        raise InputError("`boxes` must be a COCO-style object and `threshold` a number from 0 to 1.")
    with tempfile.TemporaryDirectory() as folder:
        asked, shown = Path(folder, "asked"), Path(folder, "shown")
        names, there = _numbered(work, images, asked), _numbered(work, examples, shown)
        known = {name: number for number, name in there.items()}
        if len(known) < len(there):
            raise InputError("Two examples have the same name. Give each its own: `boxes` tells them apart by it.")
        listed = boxes["images"] if isinstance(boxes.get("images"), list) else []
        for one in listed:
            name = one.get("file_name") if isinstance(one, dict) else None
            if not isinstance(name, str) or name not in known:
                raise InputError(
                    f"The image {str(name)[:80]!r} of `boxes` is not among the examples. Send it with them."
                )
        placed = boxes | (
            {"images": [one | {"file_name": known[one["file_name"]]} for one in listed]} if listed else {}
        )
        path = shown / "boxes.json"
        path.write_text(json.dumps(placed), encoding="utf-8")
        found, about = detect_folder(shipped(encoder), path, asked, float(threshold))
    if len(about["skipped"]) == len(names):
        raise InputError(f"None of the pictures could be read. {next(iter(about['skipped'].values()))}")
    return [one | {"file_name": names[one["file_name"]]} for one in found]


def segmented(work: Workspace, images, examples, masks, tags, encoder) -> list[dict]:
    """For each picture {file_name, mask: a PNG as the command `segment` writes it, base64, shares: of the picture by class}."""
    from byolmeta.located import png_of
    from byolmeta.outline import WITHOUT, read_masks, read_tags, segment_folder

    count = len(examples) if isinstance(examples, (list, tuple)) else 0
    hints = masks or tags
    if not isinstance(hints, (list, tuple)) or len(hints) != count or bool(masks) == bool(tags):
        raise InputError("Send a mask for each example as `masks`, in their order, or else a word for each as `tags`.")
    with tempfile.TemporaryDirectory() as folder:
        asked, shown = Path(folder, "asked"), Path(folder, "shown")
        names = _numbered(work, images, asked)
        there = _numbered(work, examples, shown / "images")
        if masks:
            _numbered(work, masks, shown / "masks")
        else:
            words = list(tags)
            if len(set(map(str, words))) < 2:
                told = str(words[0])[:40]
                raise InputError(
                    f"All examples have the tag {told!r}. Send one more that shows something else, or `none`."
                )
            for file, tag in zip(there, tags, strict=True):
                if not isinstance(tag, str) or not tag.strip():
                    raise InputError("A tag is not a word. Send what each example shows, or `none`.")
                place = shown / "tags" / (tag.lower() if tag.lower() in WITHOUT else f"tag-{words.index(tag)}")
                place.mkdir(parents=True, exist_ok=True)
                (shown / "images" / file).rename(place / file)
        taught = read_masks(shown) if masks else read_tags(shown / "tags")
        skipped, found = {}, []
        for one in segment_folder(shipped(encoder), taught, asked, skipped):
            shares = {
                words[int(name[4:])] if tags else name: float((one.mask == value).mean())
                for name, value in zip(taught.names, taught.values, strict=True)
            }
            mask = base64.b64encode(png_of(one.mask)).decode()
            found.append({"file_name": names[one.path], "mask": mask, "shares": shares})
    if not found:
        raise InputError(f"None of the pictures could be read. {next(iter(skipped.values()))}")
    return found


def shipped(encoder) -> str:
    """The name of a shipped encoder; the one that suits photos where none is given."""
    name = encoder or suggest("photos")
    if name not in starters():
        raise InputError(f"The encoder {str(encoder)[:80]!r} is not one of {', '.join(starters())}. Name one of these.")
    return name


def _check_count(images) -> None:
    if not isinstance(images, (list, tuple)) or not 0 < len(images) <= MOST:
        found = len(images) if isinstance(images, (list, tuple)) else "something else than a list"
        raise InputError(f"1 to {MOST} pictures are possible in one call; it has {found}. Send a list of files.")


def _numbered(work: Workspace, images, folder: Path) -> dict[str, str]:
    """Copies files that the caller sent into a new folder; {name there: name that the caller gave}.

    On a shared machine what a process of its own cannot read is left without content.
    """
    _check_count(images)
    folder.mkdir(parents=True)
    names = {}
    for number, image in enumerate(images):
        path, name = _file(work, image, number, folder)
        there = f"{number:04}{Path(path).suffix.lower() or '.png'}"  # what it is, its content says
        shutil.copyfile(path, folder / there)
        Path(folder, f"sent-{number}").unlink(missing_ok=True)
        if work.public:
            try:
                apart.check(folder / there, work.limits)
            except InputError:
                (folder / there).write_bytes(b"")
        names[there] = name
    return names


def _file(work: Workspace, sent, number: int, folder: Path) -> tuple[str, str]:
    """As `file_of`; what a data: URL holds is put into `folder`, and has its number in the list for a name."""
    found = file_of(work, sent)
    if not isinstance(found, bytes):
        return found[0], Path(found[1]).name
    path = folder / f"sent-{number}"
    path.write_bytes(found)
    return str(path), str(number)


def _opened(work: Workspace, path: str):
    """The encoder and the classifier of a project file; nothing of it stays on disk."""
    from byolmeta.encoder import load_encoder
    from byolmeta.project import open_project

    with tempfile.TemporaryDirectory() as folder:
        found = open_project(path, Path(folder))
        return load_encoder(found.encoder), found.classifier
