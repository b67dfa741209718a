"""Makes a finished run's encoder a file of pretrained/: the same tensors, and a card that says what it is.

    python tests/benchmarks/ship.py RUN NAME PICTURES --data "32,000 photos of ..." --licence "..." --sample creatures \
        --command "python -m byolmeta pretrain ..."

PICTURES are those of the run: the readout is fitted anew, on more of them than a running study takes time for. The card
gets the licence, command and machine, and the accuracy on a sample that is always at hand, which a test measures again:
100 tasks of 5 classes with 5 examples each, by prototypes.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from machine import about

from byolmeta.byol import BYOL
from byolmeta.commands import fewshot
from byolmeta.encoder import load_encoder, load_heads, save_encoder
from byolmeta.features import embed, twin_score
from byolmeta.files import PRETRAINED, find_encoder, read_card
from byolmeta.images import open_store
from byolmeta.pretrain import split
from byolmeta.samples import sample_folder
from byolmeta.workplace import home

FITTED = 8000  # pictures that the readout is fitted on
TASKS = {"way": 5, "shot": 5, "episodes": 100}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("name")
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--data", required=True, help="what it learned from")
    parser.add_argument("--licence", required=True)
    parser.add_argument("--sample", required=True, help="creatures or digits")
    parser.add_argument("--command", required=True, help="that trained it")
    flags = parser.parse_args()
    source = find_encoder(flags.run)
    encoder = load_encoder(source)
    store = open_store(flags.pictures, home() / "stores", encoder.image_size)
    rows = np.unique(np.linspace(0, len(store) - 1, min(len(store), FITTED)).astype(int))
    encoder.fit_readout(torch.from_numpy(embed(encoder, store.pixels[rows], pooled=True)))
    held = store.pixels[split(len(store), encoder.card["settings"]["seed"])[1]]
    figures = encoder.card["figures"] | {"twin": twin_score(encoder, held), "twin_of": len(held)}
    card = {"data": flags.data, "licence": flags.licence, "command": flags.command, "figures": figures}
    card |= {key: about()[key] for key in ("machine", "versions")}
    target = PRETRAINED / f"{flags.name}.safetensors"
    save_encoder(encoder, target, card, heads_of(source))
    found = fewshot(str(target), sample_folder(flags.sample, home()), **TASKS)
    card["slice"] = {"sample": flags.sample, **{k: found[k] for k in (*TASKS, "query", "accuracy", "ci95", "seed")}}
    save_encoder(encoder, target, card, heads_of(source))
    target.chmod(0o644)
    print(json.dumps({"file": target.name, "bytes": target.stat().st_size} | card["slice"]))


def heads_of(source: Path) -> dict[str, nn.Module]:
    """BYOL's heads in an encoder file, so that studying can go on from the shipped one."""
    settings = read_card(source)["settings"]
    heads = BYOL(load_encoder(source), settings["hidden"], settings["dim"], settings["whiten"]).heads()
    if not load_heads(source, heads):
        raise SystemExit(f"{source} holds no heads that fit its settings.")
    return heads


if __name__ == "__main__":
    main()
