"""What a study may take of the machine, what it will need, and where its work is put for that."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

GIB = 2**30
_SCRATCH = 1.25
"""What single operations need beside what is seen to be held, as a factor of the network's part."""


@dataclass(frozen=True)
class Limits:
    """What one study may take.

    ``memory_gib`` is of the machine, above what is imported (None: nine tenths of it), and
    ``vram_gib`` of the GPU (None: nine tenths of what is free). With ``allow_cpu`` a study that
    the GPU cannot take is done on the processor. ``seconds`` is for a whole study, the loading of
    the model included where it is a worker's first. ``voxels`` is how many a scan may have, each
    of its channels by itself.
    """

    memory_gib: float | None = None
    vram_gib: float | None = None
    allow_cpu: bool = False
    seconds: float | None = None
    voxels: float | None = None

    def __post_init__(self) -> None:
        for name in ("memory_gib", "vram_gib", "seconds", "voxels"):
            given = getattr(self, name)
            if given is not None and given <= 0:
                raise ValueError(f"{name} is above 0, not {given}")


@dataclass(frozen=True)
class Need:
    """Bytes that asking a network takes: of the image, of what windows are added to, of a window.

    ``held`` has the rows that are handed out as well; ``window`` is for a batch of one.
    """

    image: float
    held: float
    window: float

    @property
    def total(self) -> float:
        """All of it, a window at a time."""
        return self.image + self.held + _SCRATCH * self.window


@dataclass(frozen=True)
class Placement:
    """Which device computes, which holds what windows are added to, how many are asked at once."""

    compute: torch.device
    held: torch.device
    batch: int

    @property
    def words(self) -> str:
        """For people."""
        many = "one window" if self.batch == 1 else f"{self.batch} windows"
        if self.compute == self.held:
            return f"{many} at a time on {self.compute}"
        return f"{many} at a time on {self.compute}, added up on {self.held}"

    def smaller(self, allow_cpu: bool) -> Placement | None:
        """The next rung down: fewer windows, sums on the CPU, all on the CPU; None is the end."""
        import torch

        cpu = torch.device("cpu")
        if self.batch > 1:
            return replace(self, batch=self.batch // 2)
        if self.held != cpu:
            return replace(self, held=cpu)
        return replace(self, compute=cpu) if allow_cpu and self.compute != cpu else None


def placed(device: torch.device, batch: int, need: Need, limits: Limits) -> Placement | None:
    """The first rung that ``limits`` and the device's free memory allow; None if none does."""
    import torch

    rung: Placement | None = Placement(device, device, batch)
    if device.type != "cuda":
        return rung
    free = torch.cuda.mem_get_info(device)[0]
    room = min(0.9 * free, GIB * limits.vram_gib if limits.vram_gib is not None else free)
    while rung is not None and rung.compute == device and _taken(rung, need) > room:
        rung = rung.smaller(limits.allow_cpu)
    return rung


def _taken(rung: Placement, need: Need) -> float:
    kept = need.image + need.held if rung.held == rung.compute else 0.0
    return kept + _SCRATCH * need.window * rung.batch
