"""The verbs: functions of Python and, with the same names and settings, of the command line (cli.py).

Every verb takes a folder or zip of pictures and returns a dict. Progress goes to standard error.
"""

import dataclasses
import os
import sys
import time
from pathlib import Path
from typing import Annotated

import numpy as np
from tyro.conf import OmitArgPrefixes, Positional, arg

from byolmeta.errors import InputError
from byolmeta.files import HISTOGRAM, PIXELS, UNTRAINED, find_encoder, read_card, replace_file
from byolmeta.runs import ACTIVE, Run
from byolmeta.settings import MetatrainConfig, PretrainConfig, check_seed
from byolmeta.train import same_settings, settings_of, train
from byolmeta.workplace import bar, home, local, rank, store_of, text, vectors_of, writable, write_csv

ENCODER = "an encoder file, a run folder, a name in pretrained/, or torchvision:resnet18, timm:NAME, hub:OWNER/NAME"
FOLDER = "a folder or zip of pictures"
BASELINES = "pixels, histogram (of colours), untrained, untrained:ENCODER (of the same shape)"
EncoderName = Annotated[Positional[str], arg(metavar="ENCODER", help=ENCODER)]
Baseline = Annotated[Positional[str], arg(metavar="ENCODER", help=f"{ENCODER}; or a baseline: {BASELINES}")]
Pictures = Annotated[Positional[Path], arg(metavar="FOLDER", help=FOLDER)]
Seed = Annotated[int, arg(help="of what is drawn by chance, if anything is")]
Learner = Annotated[str, arg(metavar="NAME", help="prototype, ridge, linear, anil, metasgd, maml, finetune or auto")]
File = Annotated[Path, arg(metavar="FILE", help="the file to write")]

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before torch: waiting threads leave the cores to other processes


def pretrain(
    folder: Pictures,
    out: Annotated[Path, arg(metavar="RUN", help="the run folder, made here")],
    settings: OmitArgPrefixes[PretrainConfig] = PretrainConfig(),
    resume: Annotated[bool, arg(help="go on where the run in --out stopped")] = False,
) -> dict:
    """Learn from the pictures of FOLDER by BYOL; OUT becomes the run folder. With --resume, goes on where it stopped."""
    run = Run(out)
    if rank() == 0:
        if resume and run.status()["state"] not in ACTIVE:
            run.withdraw("stop")
            run.withdraw("pause")
        if resume:
            same_settings(run, settings)
        elif settings.init:
            init = Path(local(settings.init))
            init = str(init.resolve() if init.exists() else init)  # a resumed run may begin in another folder
            settings = settings_of(dataclasses.replace(settings, init=init))
        if not resume:  # what is wrong is said before a run folder is made
            from byolmeta.pretrain import check_pictures, check_settings

            check_settings(settings)
            check_pictures(store_of(folder, settings.init or settings.image_size, home()))
            run.create(settings, folder=str(folder.resolve()), home=str(home()))
    return train(run, resume=resume, folder=folder)


def metatrain(
    encoder: Baseline,
    folder: Pictures,
    out: Annotated[Path, arg(metavar="RUN", help="the run folder, made here")],
    settings: OmitArgPrefixes[MetatrainConfig] = MetatrainConfig(),
    resume: Annotated[bool, arg(help="go on where the run in --out stopped")] = False,
) -> dict:
    """Practise with small puzzles (meta-training): OUT becomes a run folder whose encoder learns faster from few examples.

    Puzzles come from the pictures alone (--tasks pseudo) or from class folders (--tasks labels). Some are held back:
    `before` and `after` are accuracies on those, `difference` is the paired one with its interval `ci95`. Without a gain the
    encoder stays as it was, and says so.
    """
    run = Run(out)
    if resume:
        if run.status()["state"] not in ACTIVE:
            run.withdraw("stop")
            run.withdraw("pause")
        same_settings(run, settings)
    else:
        encoder = local(encoder)
        if encoder in (PIXELS, HISTOGRAM):
            raise InputError(f"'{encoder}' has no network to practise with. Use an encoder, or 'untrained'.")
        if encoder.split(":")[0] == UNTRAINED and settings.through == "vectors":
            raise InputError(
                "An untrained network has no vectors worth practising on. Add --through all, or use an encoder."
            )
        path = encoder if encoder.split(":")[0] == UNTRAINED else str(find_encoder(encoder).resolve())
        store_of(folder, path, home())  # what is wrong is said before a run folder is made
        run.create(settings, folder=str(folder.resolve()), home=str(home()), encoder_file=path)
    return train(run, resume=resume, folder=folder)


def evaluate(
    encoder: Baseline,
    train_folder: Annotated[Positional[Path], arg(metavar="TRAIN_FOLDER", help="class folders to learn from")],
    test_folder: Annotated[Positional[Path], arg(metavar="TEST_FOLDER", help="class folders of the same names to ask")],
    protocol: Annotated[str, arg(metavar="NAMES", help="of knn, linear and finetune, with commas")] = "knn,linear",
    features: Annotated[str, arg(metavar="NAME", help="readout or encoder")] = "readout",
    seed: Seed = 0,
) -> dict:
    """Top-1 of an encoder on class folders, trained on TRAIN_FOLDER and tested on TEST_FOLDER: knn, linear, finetune.

    knn and linear work on what the app uses ('readout': whitened maps of the last two stages) or on what the literature
    uses ('encoder': pooled maps of the last one); finetune trains the whole network. Test pictures of a class that
    TRAIN_FOLDER lacks are not asked: `left_out` counts them.
    """
    from byolmeta import evaluate as protocols

    known, asked = ("knn", "linear", "finetune"), [name.strip() for name in protocol.split(",")]
    if unknown := [name for name in asked if name not in known]:
        raise InputError(f"There is no protocol '{unknown[0]}'. Choose from: {', '.join(known)}.")
    if features not in ("readout", "encoder"):
        raise InputError(f"There are no features '{features}'. Choose readout or encoder.")
    if encoder in (PIXELS, HISTOGRAM) and "finetune" in asked:
        raise InputError(f"'{encoder}' has no network to fine-tune. Use 'untrained' for one that knows nothing yet.")
    check_seed(seed)
    plain = features == "encoder"
    train_store, train_vectors = vectors_of(encoder, train_folder, plain=plain)
    test_store, test_vectors = vectors_of(encoder, test_folder, beside=train_store, plain=plain)
    truth, rows = protocols.shared_classes(
        train_store.class_names, train_store.labels, test_store.class_names, test_store.labels
    )
    named = train_store.labels >= 0
    labels, answers = train_store.labels[named], truth[rows]
    figures = dict.fromkeys(known)
    if "knn" in asked:
        figures["knn"] = protocols.knn(train_vectors[named], labels, test_vectors[rows], answers)
    if "linear" in asked:
        figures["linear"] = protocols.linear_probe(train_vectors[named], labels, test_vectors[rows], answers, seed)
    if "finetune" in asked:
        from byolmeta.devices import choose_device
        from byolmeta.features import open_encoder

        pixels = train_store.pixels[named], test_store.pixels[rows]
        network, device = open_encoder(local(encoder), train_store), choose_device("auto")
        figures["finetune"] = protocols.finetune(
            network, pixels[0], labels, pixels[1], answers, seed=seed, device=device, progress=bar("Fine-tuning")
        )
    seen = {picture.tobytes() for picture in train_store.pixels}
    again = sum(picture.tobytes() in seen for picture in test_store.pixels[rows])
    if again:
        print(f"{again:,} of the test pictures are also training pictures: the figures are too good.", file=sys.stderr)
    about = {"features": features, "test_images": int(rows.sum()), "left_out": int((~rows).sum())}
    return figures | about | {"also_in_training": again}


def embed(encoder: Baseline, folder: Pictures, out: File, seed: Seed = 0) -> dict:
    """Write the vectors of all pictures to OUT (npz: vectors, paths, labels, class_names)."""
    start = time.perf_counter()
    writable(out)
    store, vectors = vectors_of(encoder, folder)
    names = np.array([text(p) for p in store.index.paths])
    classes = np.array([text(name) for name in store.class_names], dtype=str)
    bank = {"vectors": vectors, "paths": names, "labels": store.labels, "class_names": classes}
    replace_file(out, lambda path: _savez(path, bank))
    seconds = time.perf_counter() - start
    return {
        "images": len(store),
        "skipped": len(store.index.skipped),
        "dim": vectors.shape[1],
        "images_per_second": round(len(store) / seconds, 1),
        "out": str(out),
    }


def _savez(path: Path, arrays: dict) -> None:
    with open(path, "wb") as file:  # by name, savez would add an ending
        np.savez_compressed(file, **arrays)


def map(
    encoder: Baseline,
    folder: Pictures,
    out: File,
    seed: Seed = 0,
    dots: Annotated[bool, arg(help="no pictures in the page; so with more than 20,000 of them anyway")] = False,
    engine: Annotated[
        str, arg(help="own, or umap-learn: its walk, from the same neighbours and start; slower")
    ] = "own",
) -> dict:
    """Write a UMAP map of all pictures to OUT, one page that works offline, with the pictures in it or as dots."""
    from byolmeta import image_map
    from byolmeta.ui.map_page import map_page

    check_seed(seed)
    if engine not in image_map.ENGINES:
        raise InputError(f"There is no map engine '{engine}'. Choose from: {', '.join(image_map.ENGINES)}.")
    start = time.perf_counter()
    writable(out)
    store, vectors = vectors_of(encoder, folder)
    near = image_map.nearest(vectors)
    places = image_map.ENGINES[engine](vectors, seed=seed, near=near)
    page = map_page(places, store, near=near[0][:, :3], dots=dots, title=text(Path(folder).name))
    replace_file(out, lambda path: path.write_text(page, encoding="utf-8", errors="replace"))
    seconds = time.perf_counter() - start
    return {
        "images": len(store),
        "skipped": len(store.index.skipped),
        "seconds": round(seconds, 2),
        "trustworthiness": image_map.trustworthiness(vectors, places),
        "out": str(out),
    }


def fewshot(
    encoder: Baseline,
    folder: Annotated[Positional[Path], arg(metavar="FOLDER", help="class folders")],
    way: Annotated[int, arg(help="classes in a task")] = 5,
    shot: Annotated[int, arg(help="examples of each class")] = 1,
    query: Annotated[int, arg(help="other pictures of each class that are asked; 0: up to 15")] = 0,
    episodes: Annotated[int, arg(help="tasks")] = 600,
    learner: Learner = "prototype",
    versus: Annotated[str, arg(metavar="ENCODER", help="another encoder, or ENCODER,LEARNER, on the same tasks")] = "",
    out: Annotated[Path | None, arg(metavar="FILE", help="CSV of pictures that are answered wrongly")] = None,
    why: Annotated[Path | None, arg(metavar="FOLDER", help="heat maps of the 20 that fail most, made here")] = None,
    seed: Seed = 0,
) -> dict:
    """N-way K-shot accuracy over many tasks drawn from class folders, with its 95 % interval (inductive).

    A query of 0 means 15 a class, or as many as the smallest of the classes leaves. A learner has the settings that practice
    found, where the encoder brings some. With --versus, `difference` is by how much ENCODER is better than the other on the
    same tasks, `difference_ci95` half its interval over tasks, as the field gives it, and `difference_ci95_pictures` over the
    pictures that are asked, which says more of other pictures. `studied` and `saw_labels`: the encoder learned from these very pictures, or practised with
    these class folders, which flatters it. maml and finetune adapt the network to each task, which takes a while. With --why,
    each picture that fails is painted: orange where it speaks for the wrong answer, blue for the right one (occlusion).
    """
    from byolmeta.fewshot import by_picture, failures, mean_and_interval, paired
    from byolmeta.learners import learner as make
    from byolmeta.measure import draw_tasks, measure

    check_seed(seed)
    other, _, method = versus.partition(",")
    make(learner), make(method or learner)  # what is wrong is said before any work
    if out:
        writable(out)
    if why:
        from byolmeta.classifier import new_folder

        new_folder(why, Path(folder))
    start = time.perf_counter()
    store = store_of(folder, local(encoder), home())
    tasks, query = draw_tasks(store, way, shot, query, episodes, seed)
    found = measure(local(encoder), learner, store, tasks, home(), bar("Tasks"))
    accuracy, interval = mean_and_interval(found.right)
    result = {
        "accuracy": accuracy,
        "ci95": interval if episodes > 1 else None,
        "episodes": episodes,
        "way": way,
        "shot": shot,
        "query": query,
        "learner": learner,
        "seed": seed,
        "skipped": len(store.index.skipped),
        "seconds": round(time.perf_counter() - start, 3),
        **found.about,
    }
    if found.about["saw_labels"]:
        print(
            "This encoder practised with these class folders: its figures are too good for new ones.", file=sys.stderr
        )
    if versus:
        second = store_of(folder, local(other), home())  # its pictures may have another size
        beside = measure(local(other), method or learner, second, tasks, home(), bar("Tasks"))
        gain, half = paired(beside.right, found.right)
        more = {"versus": other, "versus_learner": method or learner, "versus_accuracy": float(beside.right.mean())}
        more |= {f"versus_{key}": value for key, value in beside.about.items()}
        result |= more | {"difference": gain, "difference_ci95": half if episodes > 1 else None}
        right = [(one.answers == tasks.query_labels).ravel().astype(float) for one in (found, beside)]
        result["difference_ci95_pictures"] = by_picture(tasks.query.ravel(), right[0] - right[1])
    failed = failures(found.answers, tasks, store.labels) if out or why else []
    if why:
        painted = paint_failures(local(encoder), learner, store, tasks, found.answers, failed, why)
        result |= {"why": str(why), "painted": painted}
    if out:
        rows = [
            {"path": text(store.index.paths[f["row"]]), "class": text(store.class_names[store.labels[f["row"]]]),
             "taken_for": text(store.class_names[f["taken_for"]]), "asked": f["asked"], "wrong": f["wrong"]}
            for f in failed
        ]  # fmt: skip
        replace_file(out, lambda path: write_csv(path, rows))
        result["out"] = str(out)
    return result


def paint_failures(
    encoder: str, learner: str, store, tasks, answers, failed: list[dict], folder: Path, most: int = 20
) -> int:
    """Writes the pictures that fail most into a folder, each beside the parts that misled; returns how many."""
    from byolmeta.fewshot import first_failure
    from byolmeta.measure import candidate
    from byolmeta.occlusion import occlusion, panels

    one, progress = candidate(encoder, learner, store, home()), bar("Heat maps")
    for number, failure in enumerate(failed[:most], 1):
        row = failure["row"]
        task = first_failure(answers, tasks, store.labels, row, failure["taken_for"])
        found = occlusion(one, store, tasks, task, row)
        name = Path(text(store.index.paths[row])).stem[:60]
        panels(store.pixels[row], found.heat).save(folder / f"{number:02}-{name}.png")
        progress(number, min(most, len(failed)))
    return min(most, len(failed))


def classify(
    encoder: Annotated[
        Positional[str], arg(metavar="ENCODER", help=f"{ENCODER}; a baseline: {BASELINES}; or a project")
    ],
    examples: Annotated[
        Path | None, arg(metavar="FOLDER", help="class folders of examples; a project has its own")
    ] = None,
    images: Annotated[Path | None, arg(metavar="FOLDER", help="pictures to sort")] = None,
    out: Annotated[Path | None, arg(metavar="FILE", help="CSV to write; left out: the answers are printed")] = None,
    learner: Learner = "",
    project: Annotated[
        Path | None, arg(metavar="FILE", help="NAME.byolmeta to write, which gives the same answers anywhere")
    ] = None,
    copies: Annotated[
        Path | None, arg(metavar="PLACE", help="copies of the pictures in class folders: a new folder, or a .zip")
    ] = None,
    seed: Seed = 0,
) -> dict:
    """Sort the pictures of IMAGES into the classes of EXAMPLES (one folder of examples a class); OUT gets a CSV.

    A project file NAME.byolmeta, in place of an encoder and examples, answers as where it was saved. The learner is anil,
    or the project's.
    """
    from byolmeta.classifier import rows_of, sorted_folder, sorted_zip
    from byolmeta.project import is_project

    if images is None:
        raise InputError("No pictures to sort are given. Add --images FOLDER.")
    for path in filter(None, (out, project)):
        writable(path)
    if copies and copies.suffix.lower() == ".zip":
        writable(copies)
    opened = _opened if is_project(encoder) else _taught
    classifier, asked, vectors, skipped = opened(encoder, examples, images, learner, project)
    answer, right = classifier.sort(vectors), None
    for right in classifier.hidden():
        pass
    names = classifier.names
    rows = rows_of(asked.index.paths, answer, names)
    if out:
        replace_file(out, lambda path: write_csv(path, rows))
    if copies:
        (sorted_zip if copies.suffix.lower() == ".zip" else sorted_folder)(asked.index, answer, names, copies)
    return {
        "images": rows,
        "skipped": len(asked.index.skipped) + skipped,
        "loo": {"right": right.right, "of": right.of} if right else {"right": 0, "of": 0},
        "out": str(out) if out else None,
        "project": str(project) if project else None,
        "copies": str(copies) if copies else None,
    }


def _taught(encoder: str, examples: Path | None, images: Path, learner: str, project: Path | None):
    """The classifier of class folders, the store of pictures to sort, their vectors, and how many examples were skipped."""
    import torch

    from byolmeta.classifier import teach
    from byolmeta.copies import copies_group_ids
    from byolmeta.learners import learner as make

    if examples is None:
        raise InputError("No examples are given. Add --examples FOLDER, which holds one folder of examples a class.")
    baseline = str(encoder).split(":")[0] in (PIXELS, HISTOGRAM, UNTRAINED)
    if baseline and project:
        raise InputError(f"'{encoder}' is no encoder file that a project could hold. Use an encoder.")
    shown, shown_vectors = vectors_of(encoder, examples)
    if len(shown.class_names) < 2:
        raise InputError(
            f"'{examples}' holds {len(shown.class_names)} class folders; at least 2 are needed, each with one example or more."
        )
    asked, asked_vectors = vectors_of(encoder, images, beside=shown)
    card = {} if baseline else read_card(find_encoder(local(encoder)))
    vectors = torch.from_numpy(np.concatenate([shown_vectors, asked_vectors]))
    named = np.flatnonzero(shown.labels >= 0)
    copies = np.concatenate([copies_group_ids(shown), len(shown) + np.arange(len(asked))])
    names = [text(name) for name in shown.class_names]
    method = make(learner or "anil", card)  # as its practice found, if it did
    classifier = teach(method, vectors, named, shown.labels[named], names, copies)
    if project:
        from byolmeta.project import save_project

        paths = [text(shown.index.paths[row]) for row in named]
        save_project(project, local(encoder), classifier, paths, shown.pixels[named])
    return classifier, asked, vectors[len(shown) :], len(shown.index.skipped)


def _opened(encoder: str, examples: Path | None, images: Path, learner: str, project: Path | None):
    """As _taught, from a project file."""
    import torch

    from byolmeta.project import open_project

    if examples or learner or project:
        raise InputError(
            "A project file has its own examples and learner. Leave out --examples, --learner and --project."
        )
    found = open_project(encoder, home() / "encoders")
    asked, vectors = vectors_of(str(found.encoder), images)
    return found.classifier, asked, torch.from_numpy(vectors), 0


def detect(
    encoder: EncoderName,
    examples: Annotated[Path, arg(metavar="FILE", help="a COCO-style JSON file of a few drawn boxes")],
    images: Annotated[Path, arg(metavar="FOLDER", help=FOLDER)],
    out: File,
    threshold: Annotated[float, arg(help="how sure a box must be at least, 0..1")] = 0.0,
    seed: Seed = 0,
) -> dict:
    """Find things in pictures from a few drawn boxes; OUT gets a list of COCO results, the surest of each picture first.

    The file has images (id, file_name relative to it), annotations (image_id, category_id, bbox) and categories (id, name). An
    annotation with "negative": true is a box around what is none of them.
    """
    from byolmeta import locate

    check_seed(seed)
    return locate.detect(encoder, examples, images, out, threshold, seed)


def segment(
    encoder: EncoderName,
    examples: Annotated[
        Path, arg(metavar="FOLDER", help="images/ and masks/ of the same names; with --tags class folders")
    ],
    images: Annotated[Path, arg(metavar="FOLDER", help=FOLDER)],
    out: Annotated[Path, arg(metavar="FOLDER", help="gets masks/ and outlines.csv")],
    tags: Annotated[bool, arg(help="no masks: a folder for each thing, and one named none")] = False,
    overlays: Annotated[bool, arg(help="also pictures/ with the outlines drawn on them")] = False,
    seed: Seed = 0,
) -> dict:
    """Outline things in pictures from a few masks, or from tags alone; OUT gets a mask of each picture's own size.

    Masks: 0 is background, every other value, or colour, a class. Tags: class folders of pictures that have the thing, and one
    named `none` (or `background`) of pictures that have none.
    """
    from byolmeta import outline

    check_seed(seed)
    return outline.segment(encoder, examples, images, out, tags, overlays)


def import_encoder(
    file: Annotated[Positional[Path], arg(metavar="CHECKPOINT", help="a .pt, .pth, .ckpt or .safetensors file")],
    out: Annotated[Path, arg(metavar="FILE", help="the encoder file to write, ending in .safetensors")],
    image_size: Annotated[int, arg(help="side of the pictures; 0: 224, or 32 for the 3x3 stem of CIFAR")] = 0,
    mean: Annotated[tuple[float, float, float], arg(help="of the colours, as it was trained")] = (0.485, 0.456, 0.406),
    std: Annotated[tuple[float, float, float], arg(help="of the colours, as it was trained")] = (0.229, 0.224, 0.225),
    seed: Seed = 0,
) -> dict:
    """Make an encoder of a ResNet-18 or ResNet-50 checkpoint of lightly, solo-learn, byol-pytorch, timm or torchvision.

    Only tensors are read, and only the online network is taken.
    """
    from byolmeta.encoder import save_encoder
    from byolmeta.foreign import import_tensors, read_tensors

    writable(out)
    encoder, report = import_tensors(read_tensors(file), file.name, image_size, mean, std)
    save_encoder(encoder, out)
    return {"architecture": encoder.architecture, "image_size": encoder.image_size, **report, "encoder": str(out)}


def export(
    encoder: Annotated[Positional[str], arg(metavar="ENCODER", help=f"{ENCODER}; or a project, NAME.byolmeta")],
    out: File,
    format: Annotated[str, arg(metavar="NAME", help="onnx")] = "onnx",
    seed: Seed = 0,
) -> dict:
    """Write an encoder as an ONNX file: picture in (0..1), vector out, normalisation inside; checked with onnxruntime.

    Of a project file NAME.byolmeta, its classifier: picture of any size in, chances of the classes and none_of_these out,
    all preprocessing inside. The JSON beside it has the labels and five lines of Python that use it.
    """
    from byolmeta.encoder import load_encoder
    from byolmeta.export import export_onnx
    from byolmeta.project import is_project, open_project

    if format != "onnx":
        raise InputError(f"There is no format '{format}'. Choose onnx.")
    writable(out)
    if not is_project(encoder):
        return export_onnx(load_encoder(local(encoder)), out)
    from byolmeta.classifier import to_onnx

    found = open_project(encoder, home() / "encoders")
    return to_onnx(found.classifier, load_encoder(found.encoder), found.pixels, out)


def push(
    encoder: EncoderName,
    repository: Annotated[Positional[str], arg(metavar="OWNER/NAME", help="a repository on the Hub; made if absent")],
    seed: Seed = 0,
) -> dict:
    """Upload an encoder and its model card to OWNER/NAME on the Hugging Face Hub; hub:OWNER/NAME is then its name."""
    from byolmeta.hub import push as upload

    return upload(find_encoder(encoder), repository)


VERBS = {
    f.__name__: f for f in (pretrain, metatrain, evaluate, embed, map, fewshot, classify, detect, segment, export, push)
}
VERBS["import"] = import_encoder  # a word of Python's own
