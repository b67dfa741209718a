"""BYOL on CIFAR-10: kNN and linear probe after the last epoch, in steps that can be taken up again.

    python tests/benchmarks/cifar10.py DATA OUT                                # the published recipe, for a GPU
    python tests/benchmarks/cifar10.py DATA OUT --ours --batch-size 256           # whitened targets and LARS, as long
    python tests/benchmarks/cifar10.py DATA OUT --encoder small --image-size 64 --preset thorough --every 1    # a CPU's curve

DATA holds train and test, as class folders or train.zip and test.zip. Call it again with the same OUT until it says that
it is done: each call trains for --minutes at most and leaves a checkpoint. The recipe is that of lightly's benchmark,
made for 200 epochs, or with --preset one of the package's own, whose length is a time.
Nothing is chosen on the test pictures: kNN (k 200, temperature 0.1) and the linear probe are those of the last epoch, on
the encoder's pooled maps without readout or augmentation.
"""

import argparse
import json
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from machine import about
from starter import NOT_DONE, train

from byolmeta import evaluate, features
from byolmeta.devices import choose_device
from byolmeta.encoder import Encoder, load_encoder
from byolmeta.files import read_card
from byolmeta.images import ImageStore, open_store
from byolmeta.runs import Run
from byolmeta.settings import PretrainConfig

# lightly's: 0.06 per 128 pictures and decay 5e-4. Its loss is a quarter of ours, so the rate is a quarter and the decay four
# times as large for the same steps; ours spares biases and norms, and raises the momentum of 0.99 to 1.
RECIPE = dict(optimizer="sgd", base_lr=0.03, weight_decay=2e-3, momentum=0.99, warmup=0.0, whiten=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--encoder", default="resnet18")
    parser.add_argument("--image-size", type=int, default=32, help="64 doubles the pictures' sides")
    parser.add_argument("--epochs", type=float, default=200)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--minutes", type=float, default=8, help="of training in this call")
    parser.add_argument("--every", type=float, default=0, help="epochs between two encoders kept for a curve")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--preset", default="", help="quick, balanced or thorough instead of epochs, batch and recipe")
    parser.add_argument("--ours", action="store_true", help="our usual settings instead of the published recipe")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--compile", action="store_true")
    flags = parser.parse_args()
    kept = flags.out / "epochs"
    kept.mkdir(parents=True, exist_ok=True)
    recipe = {"preset": flags.preset}
    if not flags.preset:
        recipe = ({} if flags.ours else RECIPE) | {
            "epochs": flags.epochs,
            "batch_size": flags.batch_size,
            "check_share": 0.02,
        }
    network = {"encoder": flags.encoder, "image_size": flags.image_size, "seed": flags.seed}
    config = PretrainConfig(device=flags.device, compile=flags.compile, **network, **recipe)

    def keep(run: Run) -> None:
        """A copy of the first encoder saved after each --every epochs."""
        if flags.every and run.encoder.exists():
            epoch = int(read_card(run.encoder)["epochs"] / flags.every) * flags.every
            if not (kept / f"{epoch:g}.safetensors").exists():
                shutil.copy(run.encoder, kept / f"{epoch:g}.safetensors")

    if not train(_source(flags.data / "train"), flags.out, config, flags.minutes, keep):
        sys.exit(NOT_DONE)
    run = Run(flags.out / "run")
    stores = [
        open_store(_source(flags.data / part), flags.out / "stores", flags.image_size) for part in ("train", "test")
    ]
    shutil.copy(run.encoder, flags.out / "encoder.safetensors")
    ran = run.status()["result"]
    card = read_card(run.encoder)
    result = about() | {"recipe": recipe, "step_of_the_encoder": card["steps"], "plan": card["plan"]} | network
    result |= {k: ran[k] for k in ("epochs", "steps", "seconds", "images_per_second", "loss")}
    result |= measure(load_encoder(run.encoder), *stores, flags.device, linear=True)
    result["curve"] = []
    for path in sorted(kept.glob("*.safetensors"), key=lambda p: float(p.stem)):
        encoder = load_encoder(path)
        found = measure(encoder, *stores, flags.device)
        result["curve"].append({"epoch": encoder.card["epochs"], "step": encoder.card["steps"], **found})
    (flags.out / "cifar10.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result))


def measure(encoder: Encoder, train: ImageStore, test: ImageStore, device: str, linear: bool = False) -> dict:
    """kNN, and the linear probe if asked, of the pooled maps of the last stage, 0..1."""
    encoder.readout_mean = encoder.readout_matrix = None
    vectors = [features.embed(encoder, s.pixels, batch_size=1000, device=choose_device(device)) for s in (train, test)]
    truth, rows = evaluate.shared_classes(train.class_names, train.labels, test.class_names, test.labels)
    data = (vectors[0], train.labels, vectors[1][rows], truth[rows])
    found = {"knn": evaluate.knn(*data)}
    return found | ({"linear": evaluate.linear_probe(*data)} if linear else {})


def _source(place: Path) -> Path:
    return place if place.is_dir() else place.with_suffix(".zip")


if __name__ == "__main__":
    main()
