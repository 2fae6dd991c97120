"""The YAML's ``training:`` section."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from medseg.models.checkpoint import Checkpoint
from medseg.step import Step
from medseg.training.augmentation import Augmentation
from medseg.training.growth import Growth


@dataclass(frozen=True, kw_only=True)
class Training(Step):
    """How a network is trained.

    The budget is ``max_minutes`` of training (validation included, reading the studies not), or
    ``max_epochs`` of ``batches`` each, whichever ends first; the learning rate follows the
    share of the budget that is spent. ``patch`` is in voxels of the preprocessed grid, two
    sides for a network on slices. The share ``foreground`` of each batch, in whole patches
    and at least one unless it is 0, is centred on a voxel of a label, each label equally often.
    ``optimizer`` is AdamW, or SGD with Nesterov's ``momentum``; where they are left out,
    ``learning_rate`` and ``weight_decay`` are 1e-3 and 1e-2 with AdamW, 1e-2 and 3e-5 with SGD (as
    nnU-Net has them). ``compile`` has torch.compile
    make one faster program of the network, which takes its time at first. ``cache`` holds
    preprocessed studies in memory, or in files that are read as they are needed, on disk as they
    are or compressed in blocks, as ``cache_float``.
    The loss is Dice plus cross-entropy; ``label_weights`` makes labels count more (or less)
    than 1 in it. ``ema`` averages the
    weights over the last steps and is what is kept. ``start`` is a weights file, or another
    project's checkpoint, to go on from.
    ``folds`` is a JSON file ``{fold: [study, ...]}``; without one, studies are dealt to
    ``fold_count`` folds by the seed. ``group`` keeps studies of one patient in one fold: it is a
    column of the manifest, or a pattern such as ``(.*)_visit`` whose group is looked for in
    names. ``stratify`` gives every fold its part of each kind: a column too, or ``labels`` for
    which labels a study has. ``validate`` studies of the fold that is held out are
    segmented every ``validate_minutes``, or every ``validate_epochs`` where that is set. After
    ``patience`` validations in a row without a better mean Dice training ends, and the best
    weights are kept. A run that ended goes on where it gets a larger budget. ``growth`` lets a
    network that can grow do so.
    """

    label_fields: ClassVar[tuple[str, ...]] = ("label_weights",)

    patch: tuple[int, int, int] | tuple[int, int]
    batch: int = 2
    batches: int = 100
    max_minutes: float | None = None
    max_epochs: int | None = None
    foreground: float = 0.33
    augmentation: tuple[Augmentation, ...] = ()
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = 0.99
    learning_rate: float | None = None
    weight_decay: float | None = None
    warm_up: float = 0.02
    schedule: Literal["cosine", "poly"] = "cosine"
    ema: float = 0.99
    gradient_clip: float = 12.0
    dice_weight: float = 1.0
    cross_entropy_weight: float = 1.0
    label_weights: Mapping[str, float] = field(default_factory=dict)
    start: Path | Checkpoint | None = None
    precision: Literal["float32", "bfloat16", "float16"] = "bfloat16"
    compile: bool = False
    cache: Literal["memory", "disk", "compressed"] = "memory"
    cache_float: Literal["float32", "float16"] = "float32"
    folds: Path | None = None
    fold_count: int = 5
    group: str | None = None
    stratify: str | None = None
    validate: int = 8
    validate_minutes: float = 5.0
    validate_epochs: int | None = None
    patience: int | None = None
    checkpoint_minutes: float = 3.0
    growth: Growth | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_minutes is None and self.max_epochs is None:
            raise ValueError("training needs a budget: max_minutes, max_epochs or both")
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} is at least {least}, not {value}")
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} lies in [0, 1], not {getattr(self, name)}")
        for name in _ABOVE_0:
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise ValueError(f"{name} is above 0, not {value}")
        self._check_together()
        self._settle()

    def _settle(self) -> None:
        """What AdamW has anyway is left unsaid, as it always was; what SGD has is said."""
        for name, usual in _USUAL[self.optimizer].items():
            value = getattr(self, name)
            if self.optimizer == "adamw" and value == usual:
                object.__setattr__(self, name, None)
            elif self.optimizer == "sgd" and value is None:
                object.__setattr__(self, name, usual)

    @property
    def rate(self) -> float:
        """The highest learning rate: what was said, or what the optimizer usually has."""
        said = self.learning_rate
        return _USUAL[self.optimizer]["learning_rate"] if said is None else said

    @property
    def decay(self) -> float:
        """The decay of weights: what was said, or what the optimizer usually has."""
        said = self.weight_decay
        return _USUAL[self.optimizer]["weight_decay"] if said is None else said

    def _check_together(self) -> None:
        if self.group is not None and "(" in self.group:
            try:
                groups = re.compile(self.group).groups
            except re.error as error:
                raise ValueError(f"group is no pattern ({error}): {self.group!r}") from None
            if groups != 1:
                raise ValueError(f"group has one group in brackets, not {groups}: {self.group!r}")
        if any(weight < 0 for weight in self.label_weights.values()):
            raise ValueError(f"label_weights are 0 or more, not {dict(self.label_weights)}")
        if self.patience is not None and (self.validate == 0 or self.growth is not None):
            raise ValueError("patience is by validation: validate is above 0, and growth is not")
        if self.dice_weight + self.cross_entropy_weight == 0:
            raise ValueError("dice_weight and cross_entropy_weight cannot both be 0")
        if min(self.patch) < 1:
            raise ValueError(f"patch has sides of at least 1 voxel, not {self.patch}")


_USUAL: Mapping[str, Mapping[str, float]] = {
    "adamw": {"learning_rate": 1e-3, "weight_decay": 1e-2},
    "sgd": {"learning_rate": 1e-2, "weight_decay": 3e-5},
}
_LEAST = {
    **{"batch": 1, "batches": 1, "fold_count": 2, "validate": 0},
    **{"max_epochs": 1, "validate_epochs": 1, "patience": 1},
    **{"weight_decay": 0, "dice_weight": 0, "cross_entropy_weight": 0, "seed": 0},
}
_SHARES = ("foreground", "warm_up", "ema", "momentum")
_ABOVE_0 = (
    *("max_minutes", "learning_rate", "gradient_clip", "validate_minutes"),
    "checkpoint_minutes",
)
