"""The checkpoint of a run, resume.pt: weights, target, optimiser, plan and place; read as plain tensors.

Random states need no place in it: every draw comes from the seed and the number of its step. Nor does a gradient
scaler: bf16 has the range of float32.
"""

import io
import sys

import torch

from byolmeta.errors import InputError
from byolmeta.files import replace_file
from byolmeta.runs import Run

NEEDED = {"model", "optimizer", "plan", "settings", "step", "seconds", "best", "earlier", "store"}


def save_checkpoint(run: Run, values: dict) -> None:
    """Writes resume.pt whole; the one before stays as resume-before.pt."""
    data = io.BytesIO()
    torch.save(values, data)  # in memory first: torch hides why a file could not be written
    run.write(replace_file, run.resume, lambda path: path.write_bytes(data.getbuffer()), run.resume_before)


def read_checkpoint(run: Run, fingerprint: str) -> dict | None:
    """The last checkpoint that can be read; None where none was written yet.

    Raises InputError when none of those written can be read, or when they are of other pictures than `fingerprint`.
    """
    written = [path for path in (run.resume, run.resume_before) if path.exists()]
    for path in written:
        try:
            state = torch.load(path, weights_only=True, map_location="cpu")
            if not isinstance(state, dict) or not NEEDED <= state.keys():
                raise ValueError("it is no checkpoint of ours")
        except Exception as problem:  # torch and pickle raise nearly anything on a damaged file
            reason = f"'{path}' cannot be read ({type(problem).__name__})"
            if path != written[-1]:
                print(f"{reason}; going on from the checkpoint before it.", file=sys.stderr)
            continue
        if state["store"] != fingerprint:
            raise InputError(
                "The pictures are not the ones this run began with (some were added, removed or changed). "
                "Start a new run from this encoder with --init instead of --resume."
            )
        return state
    if written:
        raise InputError(
            f"The checkpoint {reason}. The encoder beside it is whole: start a new run from it with --init."
        )
    return None
