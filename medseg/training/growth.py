"""The YAML's ``training: {growth: ...}``: when and how far a network grows."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

from medseg.models.growth import Operator


@dataclass(frozen=True, kw_only=True)
class Growth:
    """How a network that can grow does so while it trains.

    Every ``every`` epochs the studies that validate are segmented. Where the mean Dice has not
    risen by more than the share ``plateau`` since (None: in any case), the next of
    ``operators`` in turn is applied where it promises most on ``batches`` batches, and the
    larger network is trained for ``probe`` epochs, the first ``warm_up`` steps of them with a
    rate that rises. It stays if the mean Dice is higher by ``delta`` then; else everything is
    put back. ``features`` and ``widen`` make one stage wider by ``factor``, with new channels
    or with copies of those it has; ``deepen`` adds a residual block, ``level`` a level below,
    ``kernel`` makes the kernels of a stage larger. Growing ends after ``refusals`` in a row,
    when the share ``until`` of the budget is spent, or where all that is left would exceed
    ``max_parameters`` or ``max_gmacs`` (10^9 multiplications for one patch).
    """

    every: int = 10
    plateau: float | None = 0.01
    operators: tuple[Operator, ...] = ("features", "deepen", "widen", "level", "kernel")
    factor: float = 1.5
    batches: int = 4
    probe: int = 5
    warm_up: int = 20
    delta: float = 0.002
    refusals: int = 3
    until: float = 0.7
    max_parameters: int | None = None
    max_gmacs: float | None = None

    def __post_init__(self) -> None:
        for name in ("every", "batches", "probe", "refusals"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, not {getattr(self, name)}")
        if not self.operators or len(set(self.operators)) != len(self.operators):
            raise ValueError(f"operators names each once and one at least, not {self.operators}")
        if self.factor <= 1:
            raise ValueError(f"factor is above 1, not {self.factor}")
        if self.warm_up < 0:
            raise ValueError(f"warm_up is 0 or more, not {self.warm_up}")
        if not 0 < self.until <= 1:
            raise ValueError(f"until lies in (0, 1], not {self.until}")
        for name in ("max_parameters", "max_gmacs"):
            if getattr(self, name) is not None and getattr(self, name) <= 0:
                raise ValueError(f"{name} is above 0, not {getattr(self, name)}")


@dataclass(frozen=True)
class Grown:
    """One row of the history of growth: an attempt, and whether it stayed.

    ``epoch`` is the one it began after; ``parameters`` and ``gmacs`` are the larger network's.
    """

    epoch: int
    iteration: int
    operator: str
    where: str
    promise: float
    parameters: int
    gmacs: float
    dice_before: float
    dice_after: float
    accepted: bool


def growth_csv(rows: Sequence[Grown]) -> bytes:
    """The history of growth as a CSV table."""
    text = io.StringIO()
    table = csv.DictWriter(text, [one.name for one in fields(Grown)], lineterminator="\n")
    table.writeheader()
    table.writerows(asdict(row) for row in rows)
    return text.getvalue().encode()
