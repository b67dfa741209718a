"""Both languages say all: same keys, same fields, no sentence of the package without its Chinese, none left over.

All is read from the source, so that neither Gradio nor torch is imported.
"""

import ast
import functools
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from byolmeta.settings import PretrainConfig

ROOT = Path(__file__).resolve().parents[1] / "byolmeta"
UI = ROOT / "ui"
TABLES = ("words.py", "chinese.py", "chinese_messages.py")  # what they hold is no sentence of the package itself
ELSEWHERE = ("cli.py",)  # seen in a terminal only
PUBLISHED = ("An image encoder pretrained ", "Use it: `python")  # in the card of a model on the Hub
RAISED = ("InputError", "Mismatch", "Refused", "Skipped")  # whose sentences people see
# Arguments that come from a table, or from sentences that are found by themselves.
READY = ("words[", "WORDS[", "here.format(", "message", "told", "too_many_pixels(", "wrong[0]", "str(problem)")
PUT_TOGETHER = {  # by code, from others that are found
    "The weights grew without bound at step {0}. The last good encoder is kept. Try half the learning rate.",
}
GRAMMAR = {("'{0}' has the folder{1} {2} alone.", "{1}")}  # fields that hold nothing but an English ending
NAMES = {"COCO", "YOLO", "{kb} kB", "{shot}-shot", "{right} / {of}", "{number} / {of}"}  # need no Chinese
ENDS = {".": "。", "?": "？", ":": "：", "…": "…", "!": "！"}
HAN = "\u4e00-\u9fff"
FIELD = re.compile(r"\{\w+\}")


def literal(path: Path, name: str):
    """The value of a table in a file."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            return ast.literal_eval(node.value)
    raise AssertionError(f"{path} has no {name}")


PARTS = sorted(
    path.parent.name for path in UI.glob("*/__init__.py") if "\nWORDS = {" in path.read_text(encoding="utf-8")
)
ENGLISH = literal(UI / "words.py", "ENGLISH") | {
    f"of_{name}": literal(UI / name / "__init__.py", "WORDS") for name in PARTS
}
CHINESE = literal(UI / "chinese.py", "CHINESE")
SETTINGS = CHINESE.pop("of_settings")
MESSAGES = literal(UI / "chinese_messages.py", "MESSAGES")
SYSTEM = literal(UI / "chinese_messages.py", "SYSTEM")


def walk(first, second, where: str = "") -> Iterator[tuple[str, str, str]]:
    """(place, English, Chinese) of all values of two tables, which must be of one shape."""
    assert type(first) is type(second), where
    if isinstance(first, dict):
        assert first.keys() == second.keys(), (where, first.keys() ^ second.keys())
        for key in first:
            yield from walk(first[key], second[key], f"{where}/{key}")
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), where
        for number, (one, other) in enumerate(zip(first, second, strict=True)):
            yield from walk(one, other, f"{where}/{number}")
    else:
        yield where, first, second


@functools.cache
def everything() -> list[tuple[str, str, str]]:
    """(place, English, Chinese) of all that is said in both languages."""
    return [*walk(ENGLISH, CHINESE), *(("message", *pair) for pair in (MESSAGES | SYSTEM).items())]


def told(problems: list) -> None:
    assert not problems, "\n".join(map(str, problems))


def test_the_tables_have_the_same_keys():
    assert {"of_board", "of_scatter", "of_locator", "of_lesson"} <= ENGLISH.keys()
    assert len(everything()) > 1000


def test_every_word_has_its_chinese():
    told([(place, chinese) for place, english, chinese in everything() if english.strip() and not chinese.strip()])
    letters = [
        (place, chinese) for place, english, chinese in everything() if re.search("[A-Za-z]", FIELD.sub("", english))
    ]
    told([each for each in letters if each[1] not in NAMES and not re.search(f"[{HAN}]", each[1])])


def test_the_fields_are_the_same():
    def wrong(english: str, chinese: str) -> set[str]:
        return set(FIELD.findall(english)) ^ set(FIELD.findall(chinese))

    missing = [
        (place, chinese, wrong(english, chinese)) for place, english, chinese in everything() if wrong(english, chinese)
    ]
    told([each for each in missing if not _grammar(each[1], each[2])])
    told([chinese for _, _, chinese in everything() if "{" in FIELD.sub("", chinese) or "}" in FIELD.sub("", chinese)])


def _grammar(chinese: str, lost: set[str]) -> bool:
    english = next((key for key, value in MESSAGES.items() if value == chinese), "")
    return any(english.startswith(start) and lost == {field} for start, field in GRAMMAR)


def test_sentences_end_alike():
    def end(text: str) -> str:
        return text.strip()[-1:]

    told(
        [
            (place, chinese)
            for place, english, chinese in everything()
            if end(chinese) != ENDS.get(end(english), end(chinese))
        ]
    )
    back = {chinese: english for english, chinese in ENDS.items()}
    told(
        [
            (place, chinese)
            for place, english, chinese in everything()
            if end(english) != back.get(end(chinese), end(english))
        ]
    )


@pytest.mark.parametrize(
    ("pattern", "what"),
    [
        (f"[{HAN}”）][,.;:?!()]", "a half-width sign after Chinese"),
        (f"[,;:?!()][{HAN}]", "a half-width sign before Chinese"),
        (f"[{HAN}][A-Za-z0-9±`]|[A-Za-z0-9±%`][{HAN}]", "no space between Chinese and Latin words or figures"),
        (f"[{HAN}]  *[{HAN}]", "a space inside of Chinese"),
        (r"[，。：；？！）]  *[^ ·]", "a space after a full-width sign"),
        (" [，。：；？！（）]", "a space before a full-width sign"),
        ("您", "您"),
        ('"|‘|’', "other quotation marks than “ ”"),
    ],
)
def test_signs_and_spaces(pattern, what):
    texts = [(place, chinese) for place, _, chinese in everything()] + [
        ("of_settings", each) for pair in SETTINGS.values() for each in pair
    ]
    told([(what, place, chinese) for place, chinese in texts if re.search(pattern, chinese)])


def test_the_settings_of_a_study_have_names():
    hidden = literal(UI / "forms.py", "ELSEWHERE")
    assert SETTINGS.keys() == {field.name for field in fields(PretrainConfig)} - set(hidden)
    told(
        [
            pair
            for pair in SETTINGS.values()
            if len(pair) != 2 or not all(re.search(f"[{HAN}]", text) or "auto" in text for text in pair)
        ]
    )


# What the package says outside of its tables


def template(node: ast.AST) -> str | None:
    """The text of a string or f-string, its fields numbered."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "strip":
        return template(node.func.value)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        names = iter(range(100))
        return re.sub(r"\{[a-z_]+\}", lambda _: f"{{{next(names)}}}", node.value).strip()
    if isinstance(node, ast.JoinedStr):
        numbers = iter(range(100))
        return "".join(
            part.value if isinstance(part, ast.Constant) else f"{{{next(numbers)}}}" for part in node.values
        ).strip()
    return None


def said() -> Iterator[tuple[str, ast.AST]]:
    """(where, node) of every string in the package that is no comment, no table of words and no part of another one."""
    for path in sorted(ROOT.rglob("*.py")):
        if path.name in TABLES:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        parts = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                parts.add(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts |= set(node.values)
            elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "WORDS":
                parts |= set(ast.walk(node))
        for node in ast.walk(tree):
            if node not in parts:
                yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}", node


NODES = list(said())
TEXTS = [
    (where, text)
    for where, node in NODES
    if isinstance(node, (ast.Constant, ast.JoinedStr)) and (text := template(node))
]


def test_every_problem_has_its_chinese():
    raised = [
        (where, node, argument)
        for where, node in NODES
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in RAISED
        for argument in node.args[-1:]
    ]
    assert len(raised) > 300
    found = [(where, template(argument)) for where, _, argument in raised]
    told([(where, text) for where, text in found if text is not None and text not in MESSAGES])
    unknown = [(where, ast.unparse(a)) for where, _, a in raised if template(a) is None]
    told([(where, text) for where, text in unknown if not text.startswith(READY) and text not in ("reason",)])


def test_every_sentence_has_its_chinese():
    """Also what a run writes into its status, the reasons why files were left out, and what a helper function puts together."""

    def sentence(text: str) -> bool:
        words = re.findall("[A-Za-z]{2,}", FIELD.sub("", text))
        return text.endswith((".", "?", "!")) and len(words) > 2 and re.match(r"[A-Z'`{]", text) is not None

    rest = [(where, text) for where, text in TEXTS if not where.startswith(ELSEWHERE) and sentence(text)]
    told([(where, text) for where, text in rest if text not in MESSAGES and not text.startswith(PUBLISHED)])


def test_no_chinese_is_left_over():
    said = {text for _, text in TEXTS} | PUT_TOGETHER
    told([text for text in MESSAGES if text not in said])
    told([text for text in PUT_TOGETHER | SYSTEM.keys() if text in {t for _, t in TEXTS}])
    assert not MESSAGES.keys() & SYSTEM.keys()
