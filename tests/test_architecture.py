"""The picture of STYLE.md: imports point down, and what must start fast stays light."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LEVELS = [  # from the top; files on one line leave each other alone
    {"app", "__main__"},
    {"ui", "cli"},
    {"commands"},
    {"why"},
    {"jobs", "train", "occlusion", "project", "outline"},
    {"pretrain", "metatrain", "evaluate", "measure", "classifier", "locate", "located"},
    {"watch", "plan", "checkpoint", "workplace", "puzzles", "practice"},
    {"step"},
    {"groups", "tidy", "film", "search"},
    {"advise", "segment"},
    {"features", "image_map", "adapt", "copies", "hub", "lanes", "detect"},
    {"fewshot"},
    {"learners"},
    {
        "byol",
        "augment",
        "episodes",
        "images",
        "runs",
        "samples",
        "loader",
        "foreign",
        "export",
        "dense",
        "boxes",
        "windows",
    },
    {"scan", "starters", "apart"},
    {"encoder", "decode", "devices", "optimizers", "ranks"},
    {"files", "settings"},
    {"errors"},
]
BORROWED = {
    ("image_map", "features"),  # the map is made from a bank's neighbours
    ("commands", "ui"),  # the page of `map`, in ui/figures.py
}
FILES = [ROOT / "app.py", *sorted((ROOT / "byolmeta").rglob("*.py"))]


def part(path: Path) -> str:
    """app, or the file or folder right below byolmeta."""
    names = path.relative_to(ROOT).with_suffix("").parts
    return names[1] if len(names) > 1 else names[0]


def imports(path: Path) -> set[str]:
    """Full names of all modules a file imports, also inside of functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def level(name: str) -> int:
    return next(number for number, names in enumerate(LEVELS) if name in names)


def test_every_file_has_its_place():
    assert {part(path) for path in FILES} - {"__init__"} == set().union(*LEVELS)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_down(path):
    mine = part(path)
    if mine == "__init__":
        assert not imports(path)
        return
    for name in imports(path):
        if name.startswith("byolmeta.") and (other := name.split(".")[1]) not in (mine, "__version__"):
            assert level(other) > level(mine) or (mine, other) in BORROWED, f"{mine} imports {other}"


def test_only_the_page_imports_gradio():
    users = {part(path) for path in FILES if any(name.split(".")[0] == "gradio" for name in imports(path))}
    assert users <= {"ui", "app"}


@pytest.mark.parametrize(
    "module, heavy",
    [
        ("byolmeta", ("gradio", "torch", "numpy")),
        ("byolmeta.images", ("gradio", "torch", "umap", "sklearn")),
        ("byolmeta.ui", ("torch", "umap", "sklearn", "plotly")),
        ("byolmeta.cli", ("gradio", "torch", "umap", "sklearn")),
        ("byolmeta.pretrain", ("gradio", "umap", "sklearn")),
    ],
)
def test_what_starts_fast_stays_light(module, heavy):
    code = f"import sys, {module}; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ["board", "camera", "drop", "locator", "player", "scatter"])
def test_every_word_that_a_script_asks_for_is_there(name):
    part = importlib.import_module(f"byolmeta.ui.{name}")
    words = getattr(part, "WORDS", None) or part.DEFAULT_WORDS
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "byolmeta" / "ui" / name).glob("*.js"))
    asked = set(re.findall(r'\b(?:word|say)\("(\w+)"', code)) | set(re.findall(r'\bpress\("[^"]*", "(\w+)"', code))
    assert asked and asked <= words.keys(), asked - words.keys()
