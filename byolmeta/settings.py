"""The settings of the training loops, apart from the loops so that a form or --help needs no torch."""

import math
from dataclasses import dataclass, fields

from byolmeta.errors import InputError

# Rate per 256 pictures and weight decay that suit each optimiser. A rate meant for one collapses another
# (lucidrains/byol-pytorch #44), so there is no default that all share.
OPTIMIZERS = {"sgd": (0.5, 5e-4), "adamw": (1e-3, 0.05), "lars": (2.0, 1e-6)}
# Recipes by the time there is, measured on this machine while it trains. What they reach: README, "What a study brings".
PRESETS = {"quick": {"minutes": 2.0}, "balanced": {"minutes": 10.0}, "thorough": {"minutes": 45.0}}
KINDS = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}
WIDEST = 65_536  # of a head
LONGEST = 1_000_000  # epochs or minutes
MANY = 1000  # classes, examples or inner steps of a puzzle


@dataclass(frozen=True)
class PretrainConfig:
    """Settings of one pretraining run. 0 means: chosen for you, and written down in the encoder's card."""

    preset: str = ""  # quick, balanced or thorough: settings that you leave out are then the recipe's
    encoder: str = "small"  # small, conv4, resnet18 or resnet50; an --init encoder brings its own
    image_size: int = 64  # side of the views in pixels
    kind: str = "photos"  # photos, or drawings: one channel of ink, views turned and sheared, not recoloured
    epochs: float = 0  # passes over the pictures; 0 with no minutes: 100
    minutes: float = 0  # or the time to spend, measured in a short trial at the start; with both, what ends first
    batch_size: int = 0  # pictures a step; 0: by the number of pictures, 32 to 256
    parts: int = 0  # a step's pictures are computed in so many parts, whose gradients add up; 0: by memory
    optimizer: str = "lars"  # sgd, adamw or lars
    base_lr: float = 0  # learning rate per 256 pictures; 0: by the optimiser
    weight_decay: float = -1  # on weights only, never on biases and norms; -1: by the optimiser
    warmup: float = 0.05  # share of the steps in which the rate rises
    momentum: float = 0  # of the target at the start, rises to 1; 0: by the number of steps
    whiten: bool = True  # the target's projections get unit covariance; without: plain BYOL
    hidden: int = 1024  # width of the projector's and predictor's inner layer
    dim: int = 256  # size of the projection
    init: str = ""  # encoder to go on from: a file, a run folder or a shipped name
    init_lr: float = 0.3  # factor on the rate when going on from an encoder
    seed: int = 0  # of everything that is drawn by chance
    device: str = "auto"  # auto, cpu, cuda or mps
    precision: str = "auto"  # auto, bf16 or fp32
    compile: bool = False  # torch.compile the networks: minutes at the start, for long runs on a GPU
    checkpoint_seconds: float = 30.0  # between two saves of what a run goes on from
    check_share: float = 0.04  # of the time, at most, for the figures that are watched
    log_seconds: float = 0.5  # a line of metrics at most this often, except where log_every is set
    log_every: int = 0  # steps between two lines of metrics; 0: by time

    def __post_init__(self):
        check_types(self)
        if self.preset and self.preset not in PRESETS:
            raise InputError(f"There is no preset '{self.preset}'. Choose one of: {', '.join(PRESETS)}.")
        if self.preset and not (self.epochs or self.minutes):
            for name, value in PRESETS[self.preset].items():
                object.__setattr__(self, name, value)
        if self.batch_size == 1 or self.batch_size < 0:
            raise InputError(f"The batch size is {self.batch_size}; batch norm needs 2 or more.")
        if self.optimizer not in OPTIMIZERS:
            raise InputError(f"There is no optimiser '{self.optimizer}'. Choose one of: {', '.join(OPTIMIZERS)}.")
        if self.parts < 0:
            raise InputError(f"parts is {self.parts}; it must be 1 or more, or 0 to go by memory.")
        for name in (
            "epochs",
            "minutes",
            "base_lr",
            "init_lr",
            "checkpoint_seconds",
            "log_seconds",
            "log_every",
        ):
            if not (0 <= getattr(self, name) < math.inf):
                raise InputError(f"{name} is {getattr(self, name)}; it must be 0 or more.")
        if self.epochs > LONGEST or self.minutes > LONGEST:
            raise InputError(f"epochs and minutes must be at most {LONGEST:,}.")
        if not (self.weight_decay == -1 or 0 <= self.weight_decay < math.inf):
            raise InputError(f"weight_decay is {self.weight_decay}; it must be 0 or more, or -1 for the usual one.")
        if not (0 <= self.warmup < 1 and 0 <= self.momentum < 1):
            raise InputError("warmup and momentum must be at least 0 and below 1.")
        if not 0 < self.check_share < 1:
            raise InputError(f"check_share is {self.check_share}; it must lie between 0 and 1.")
        if not (1 <= self.hidden <= WIDEST and 2 <= self.dim <= WIDEST):
            raise InputError(f"hidden is {self.hidden} and dim is {self.dim}; they must lie in 1 and 2 to {WIDEST:,}.")
        check_seed(self.seed)


TASKS = ("pseudo", "clusters", "twins", "labels")  # where puzzles come from
THROUGH = ("vectors", "last", "all")  # what practice changes beside the learner
PRACTISED = ("prototype", "ridge", "anil", "metasgd", "maml")  # learners that an outer gradient passes through


@dataclass(frozen=True)
class MetatrainConfig:
    """Settings of one practice run (meta-training)."""

    learner: str = "anil"  # prototype, ridge, anil, metasgd or maml
    tasks: str = "pseudo"  # clusters, twins (views of one picture), pseudo: both of them; or labels: class folders
    through: str = (
        "vectors"  # changed beside the learner: a turn of the vectors, the network's last stage, or all of it
    )
    steps: int = 600  # of the outer loop, at most: practice ends when puzzles held back get no better
    minutes: float = 0  # or the time to spend, at most; 0: no limit
    batch: int = 16  # puzzles a step
    way: int = 5  # classes in a puzzle; fewer where there are not so many
    train_way: int = 0  # the same, in the puzzles that are practised on; 0: way
    shot: int = 0  # examples of each class; 0: 1 to 5 by chance, and judged at 1 and 5
    query: int = 5  # questions about each class
    inner_steps: int = 0  # of the learner; 0: its usual number
    first_order: bool = False  # maml: the outer gradient leaves out how the inner ones change
    lr: float = 0  # of the outer loop; 0: 5e-4 for vectors, 1e-4 for a trained network, 1e-3 from nothing
    weight_decay: float = 0.1  # pulls the turn of the vectors back to none
    check_every: int = 25  # steps between two looks at puzzles held back
    patience: int = 8  # looks without gain after which practice ends
    judge: int = 600  # puzzles, of each number of examples, that judge at the end and never before
    seed: int = 0  # of everything that is drawn by chance
    device: str = "auto"  # auto, cpu, cuda or mps
    checkpoint_seconds: float = 30.0  # between two saves of what a run goes on from

    def __post_init__(self):
        check_types(self)
        for name, known in (("learner", PRACTISED), ("tasks", TASKS), ("through", THROUGH)):
            if getattr(self, name) not in known:
                raise InputError(f"{name} is '{getattr(self, name)}'. Choose one of: {', '.join(known)}.")
        if self.learner == "maml" and self.through == "vectors":
            raise InputError("maml changes the network, so it needs --through last or all. On vectors use anil.")
        least = {"steps": 1, "batch": 1, "way": 2, "query": 1, "check_every": 1, "patience": 1, "judge": 2}
        least |= {"shot": 0, "inner_steps": 0, "minutes": 0, "lr": 0, "weight_decay": 0, "checkpoint_seconds": 0}
        most = dict.fromkeys(("way", "shot", "query", "inner_steps", "batch"), MANY)
        for name, value in least.items():
            if not value <= getattr(self, name) <= most.get(name, LONGEST):
                raise InputError(f"{name} is {getattr(self, name)}; it must be {value} to {most.get(name, LONGEST):,}.")
        if not (self.train_way == 0 or 2 <= self.train_way <= MANY):
            raise InputError(f"train_way is {self.train_way}; it must be 2 to {MANY:,}, or 0 for that of --way.")
        check_seed(self.seed)


def check_types(record) -> None:
    """Raises InputError for a field whose value is not of its kind."""
    for field in fields(record):
        value, kind = getattr(record, field.name), field.type
        fits = isinstance(value, (int, float) if kind is float else kind)
        if not fits or isinstance(value, bool) != (kind is bool):
            raise InputError(f"{field.name} is {value!r}; it must be {KINDS[kind]}.")


def check_seed(seed: int) -> None:
    """Raises InputError for a seed that not every random generator here takes."""
    if not 0 <= seed < 2**32:
        raise InputError(f"The seed is {seed}; it must be 0 to 4,294,967,295.")
