"""The command line: the verbs of commands.py with their settings as flags."""

import argparse
import functools
import json
import os
import sys

import tyro

from byolmeta.commands import VERBS
from byolmeta.errors import InputError
from byolmeta.runs import Run, is_full
from byolmeta.train import train
from byolmeta.workplace import rank

NOTE = "Every verb also takes --json (one JSON object as the last line) and --home FOLDER (where work is kept)."


def main() -> None:
    """The command line: exit status 0, or 2 with one sentence for what the user can mend."""
    shared = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    shared.add_argument("--json", action="store_true")
    shared.add_argument("--home")
    common, rest = shared.parse_known_args()
    if common.home:
        os.environ["BYOLMETA_HOME"] = common.home
    verbs = {name: _with_note(verb) for name, verb in VERBS.items()}
    try:
        if rest[:1] == ["train"] and len(rest) > 1:  # how the app starts a run whose config.json it has written
            result = train(Run(rest[1]), resume="--resume" in rest)
        else:
            result = tyro.extras.subcommand_cli_from_dict(verbs, prog="byolmeta", description=NOTE, args=rest)
    except InputError as problem:
        print(f"\n{problem}", file=sys.stderr)
        sys.exit(2)
    except OSError as problem:
        if not is_full(problem):
            raise
        print(f"\nThe disk is full ({problem}). Make room and try again; nothing was replaced.", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit("\nEnded from the keyboard. A run goes on from its last checkpoint with --resume.")
    if rank():
        return
    if common.json:
        print(json.dumps(result))
        return
    rows = result.pop("images") if isinstance(result.get("images"), list) and not result.get("out") else []
    for row in rows:
        print("\t".join(str(value) for value in row.values()))
    for key, value in result.items():
        if value not in ("", None, []):
            print(f"{key}: {_plain(value)}")


def _with_note(verb):
    """The verb with what all of them take at the end of its help."""

    @functools.wraps(verb)
    def noted(*arguments, **settings):
        return verb(*arguments, **settings)

    noted.__doc__ = f"{verb.__doc__.rstrip()}\n\n    {NOTE}"
    return noted


def _plain(value) -> str:
    """A value of a result as people read it."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_plain(each)}" for name, each in value.items())
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "".join(f"\n  {_plain(each)}" for each in value[:5])
    if isinstance(value, list):
        return f"{len(value):,}: {', '.join(map(str, value[:5]))}{' ...' if len(value) > 5 else ''}"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
