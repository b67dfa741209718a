"""What the package says in English, in the language of the page: problems that a visitor can mend, and what a run says.

Also names that the page gave by itself, and keeps: they follow when the visitor changes the language.
"""

import functools
import re
from collections.abc import Mapping

from byolmeta.ui.chinese import CHINESE
from byolmeta.ui.chinese_messages import MESSAGES, SYSTEM
from byolmeta.ui.words import TABLES, table

KEPT = ("sample_digits", "sample_creatures", "uploaded", "from_project")  # what pictures may be called
LONGEST = 4_000  # characters of a message that is looked up
KNOWN = MESSAGES | SYSTEM
FIELD = r"\{(\d+)\}"
SETTINGS = CHINESE["of_settings"]  # by which a message may begin


def said(words: Mapping, sentence: str) -> str:
    """A sentence of the package in the language of the words; as it is where nobody translated it.

    Several sentences side by side are translated one by one. What stands in their places, such as names of files, stays
    as it is unless it is such a sentence itself.
    """
    if words.get("language", "en") == "en" or len(sentence) > LONGEST:
        return sentence
    return _whole(sentence) or _parts(sentence)


def retold(words: Mapping, text: str, *keys: str) -> str:
    """A text that was kept as a table said it (under one of the keys, or KEPT), in the language of the words."""
    for key in keys or KEPT:
        if any(text == each[key] for each in map(table, TABLES)):
            return words[key]
    return text


def renamed(words: Mapping, names: list[str], *keys: str) -> list[str]:
    """Names that the page gave by itself, such as Box 2 (a key of the table with the place {n}), in the language of the words."""
    given = [
        re.escape(table(language)[key]).replace(re.escape("{n}"), r"(\d{1,3})") for language in TABLES for key in keys
    ]
    found = [next(filter(None, (re.fullmatch(one, name) for one in given)), None) for name in names]
    return [words[keys[0]].format(n=one[1]) if one else name for one, name in zip(found, names, strict=True)]


def _whole(sentence: str, depth: int = 0, row: bool = False) -> str | None:
    """A sentence that fits one template as a whole; None for others. `row`: it may be the first of several reasons."""
    if (found := _plain().get(sentence)) is not None:
        return found
    if depth > 2:
        return None
    for parts, fields, other in _templates():
        values = _fits(sentence, parts)
        if values is not None and not (row and any("; " in value for value in values)):
            if parts[0] in ("", "'") and (setting := values[0].lower().replace(" ", "_")) in SETTINGS:
                values[0] = SETTINGS[setting][0]
            values = _together(values, parts, fields, other)
            values = [_whole(value, depth + 1) or (_parts(value) if _several(value) else value) for value in values]
            return other.format(*[values[fields.index(n)] if n in fields else "" for n in range(max(fields) + 1)])
    return None


def _together(values: list[str], parts: list[str], fields: list[int], other: str) -> list[str]:
    """Two sentences side by side, of which nothing tells where the first ends, stand in its place."""
    for place in range(len(values) - 1, 0, -1):
        if not parts[place].strip() and f"{{{fields[place - 1]}}}{{{fields[place]}}}" in other:
            values[place - 1 : place + 1] = [values[place - 1] + parts[place] + values[place], ""]
    return values


def _several(value: str) -> bool:
    """Whether it is several sentences, or files with what is wrong with each: a.txt: Not a picture (.txt).; b.jpg: ..."""
    return value.endswith(".") and (". " in value or ": " in value)


def _parts(text: str) -> str:
    """Text of several sentences, or of several reasons in a row, the longest that are known one after the other."""
    ends = [found.end() for found in re.finditer(r"[.:;](?= )", text)][:20] + [len(text)]
    pieces, start = [], 0
    while start < len(text):
        rest = [end for end in reversed(ends) if end > start]
        known, end = next(((told, end) for end in rest if (told := _piece(text[start:end]))), ("", rest[-1]))
        pieces.append(known or text[start:end] + (" " if end < len(text) else ""))
        start = end + 1
    return "".join(pieces)


def _piece(text: str) -> str | None:
    """One of several sentences, which may be the last of a reason: a semicolon follows then."""
    known = _whole(text.removesuffix(";"), row=True)
    return known and (known.rstrip("。") + "；" if text.endswith(";") else known)


@functools.cache
def _plain() -> dict[str, str]:
    """The sentences that have no fields."""
    return {_braces(each): _braces(other) for each, other in KNOWN.items() if not re.search(FIELD, each)}


def _braces(text: str) -> str:
    return text.replace("{{", "{").replace("}}", "}")


@functools.cache
def _templates() -> list[tuple[list[str], list[int], str]]:
    """(texts between the fields, numbers of the fields, translation) of all that have fields, most text first."""
    found = []
    for template, other in KNOWN.items():
        fields = [int(number) for number in re.findall(FIELD, template)]
        if fields:
            found.append(([_braces(part) for part in re.split(r"\{\d+\}", template)], fields, other))
    return sorted(found, key=lambda each: -sum(map(len, each[0])))


def _fits(sentence: str, parts: list[str]) -> list[str] | None:
    """What stands between the parts, in their order, first come first; None where the sentence has them not."""
    first, last = parts[0], parts[-1]
    if len(sentence) < len(first) + len(last) or not (sentence.startswith(first) and sentence.endswith(last)):
        return None
    values, at, end = [], len(first), len(sentence) - len(last)
    for part in parts[1:-1]:
        there = sentence.find(part, at, end)
        if there < 0:
            return None
        values.append(sentence[at:there])
        at = there + len(part)
    return [*values, sentence[at:end]]
