"""What a task taught, kept apart from its folder: the same answers for a picture wherever and with whatever others it
is asked. And what is done with answers: rows of a table, and copies of the pictures in folders of their classes."""

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from byolmeta.adapt import STRANGE, Answer, Familiarity, HiddenAccuracy, answer_of, familiarity, hide_trace, sharpness
from byolmeta.encoder import Encoder
from byolmeta.errors import InputError
from byolmeta.export import export_classifier
from byolmeta.learners import Step, Support
from byolmeta.scan import ImageIndex
from byolmeta.tidy import originals, safe_name, unique, zip_of

UNSURE, NONE = "unsure", "none of these"  # folders beside those of the classes


@dataclass(frozen=True, eq=False)
class Classifier:
    """A learner and its examples, with what the folder said of scores and strangers when it was taught."""

    learner: object  # with its settings
    vectors: Tensor  # float32 (n, D), of the examples
    labels: np.ndarray  # int64 (n,), 0..way-1
    names: tuple[str, ...]  # of the classes (way)
    copies: np.ndarray  # int64 (n,): same number for copies of a picture
    sharp: float  # factor on the learner's scores
    member: Familiarity  # who is of the classes

    @cached_property
    def step(self) -> Step:
        """The learner's last step on the examples."""
        task = Support(self.vectors, torch.from_numpy(self.labels), len(self.names))
        for step in self.learner.adapt(nn.Identity(), task):
            pass
        return step

    def chances(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """The chance of each class if a picture is of one, (N, way), and that it is of one, (N,), of vectors (N, D)."""
        empty = torch.ones(len(self.names), dtype=torch.bool)
        empty[np.unique(self.labels)] = False
        scores = self.step.predict(vectors).masked_fill(empty, -math.inf)
        return (self.sharp * scores).softmax(1), self.member(vectors)

    def answers(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """The chance of each class, float (N, way), and whether a picture is of none of them, bool (N,)."""
        chances, member = self.chances(vectors)
        return chances * member[:, None], member < STRANGE

    @torch.no_grad()
    def sort(self, vectors: Tensor) -> Answer:
        """Where pictures go, of their vectors float32 (N, D): for its own folder, what `sort_pictures` says."""
        if vectors.shape[1] != self.vectors.shape[1]:
            raise InputError(
                f"The pictures have vectors of {vectors.shape[1]} numbers and the examples of {self.vectors.shape[1]}. "
                "Use the encoder that the examples were shown to."
            )
        return answer_of(*self.chances(vectors))

    def hidden(self) -> Iterator[HiddenAccuracy]:
        """The accuracy after every inner step by hiding each example in turn; nothing where none can be hidden."""
        places = np.arange(len(self.labels))
        return hide_trace(self.learner, self.vectors, places, self.labels, len(self.names), self.copies)


def teach(
    learner,
    vectors: Tensor,
    support: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    copies: np.ndarray | None = None,
) -> Classifier:
    """The classifier of examples (rows `support` of the folder's `vectors` (N, D), classes `labels`), as the page has it.

    `copies` (N,): same number for copies of a picture. `names` (way) are those of the classes.
    """
    if len(np.unique(labels)) < 2:
        raise InputError("Examples of one class only teach nothing. Put one picture or more into a second box.")
    copies = np.arange(len(vectors)) if copies is None else copies
    sharp = sharpness(learner, vectors, support, labels, len(names), copies)
    member = familiarity(vectors, support, labels)
    shown = vectors[support].detach().clone()
    return Classifier(learner, shown, labels.copy(), tuple(names), copies[support], sharp, member)


def to_onnx(classifier: Classifier, encoder: Encoder, pixels: np.ndarray, path: Path) -> dict:
    """Writes the classifier with its encoder as an ONNX file; `pixels` uint8 (n, 3, S, S) are its examples.

    All learners answer by vectors, so each of them can be written. The rest as export_classifier.
    """
    assert classifier.step  # it learns now, not while it is taken apart
    return export_classifier(encoder, classifier.answers, classifier.names, pixels, path)


def rows_of(paths: Sequence[str], answer: Answer, names: Sequence[str], given: Mapping[int, int] = {}) -> list[dict]:
    """A table of answers in the order of the pictures: path, label, score and none_of_these.

    Examples, `given` (row to class), are where the user put them. All text is valid text.
    """
    return [
        {
            "path": _text(path),
            "label": _text(names[given.get(row, answer.label[row])]),
            "score": 1.0 if row in given else round(float(answer.score[row]), 4),
            "none_of_these": bool(answer.sure[row] == 0) and row not in given,
        }
        for row, path in enumerate(paths)
    ]


def _text(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def folders_of(
    index: ImageIndex, answer: Answer, names: Sequence[str], given: Mapping[int, int] = {}
) -> dict[str, str]:
    """The folder that each picture belongs in, by its path: of its class, `unsure` or `none of these`."""
    taken: set[str] = set()
    folders = [unique(safe_name(name.replace("/", "_")), taken) for name in (*names, UNSURE, NONE)]
    found = {}
    for row, path in enumerate(index.paths):
        own = folders[given.get(row, answer.label[row])]
        found[path] = own if row in given else {0: folders[-1], 1: folders[-2]}.get(int(answer.sure[row]), own)
    return found


def sorted_zip(
    index: ImageIndex, answer: Answer, names: Sequence[str], target: Path, given: Mapping[int, int] = {}
) -> int:
    """Writes a zip with copies of all pictures in folders of their classes; returns how many. The originals stay."""
    return zip_of(index, range(len(index)), target, folders_of(index, answer, names, given))


def sorted_folder(
    index: ImageIndex, answer: Answer, names: Sequence[str], target: Path, given: Mapping[int, int] = {}
) -> int:
    """As `sorted_zip`, into a folder that is new or empty and outside of the pictures' own. All copies or none."""
    folders, taken, target = folders_of(index, answer, names, given), set(), Path(target)
    made = new_folder(target, index.source)
    try:
        with originals(index) as read:
            for path, folder in folders.items():
                place = target / unique(safe_name(f"{folder}/{path.rpartition('/')[2]}"), taken)
                place.parent.mkdir(exist_ok=True)
                place.write_bytes(read(path))
    except BaseException:
        for part in list(target.iterdir()):
            shutil.rmtree(part)
        if made:
            target.rmdir()
        raise
    return len(folders)


def new_folder(folder: Path, pictures: Path) -> bool:
    """Makes a folder; says whether it was not there. Raises InputError where results cannot, or must not, go there."""
    if folder.resolve().is_relative_to(pictures.resolve()):
        raise InputError(f"'{folder}' lies in the folder of pictures, which is only read. Name a folder outside of it.")
    try:
        made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        full = any(folder.iterdir())
    except OSError as problem:
        raise InputError(f"'{folder}' cannot be made ({problem.strerror}). Name another folder.") from None
    if full:
        raise InputError(f"'{folder}' is there and not empty. Name a folder that is new or empty.")
    return made
