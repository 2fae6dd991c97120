"""A network asked window by window; in 3D, and in 2D on slices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from medseg.errors import Caution, ModelError, StudyError
from medseg.image import Grid, LabelMap, Labels, Volume
from medseg.inference.scores import Scores
from medseg.models import Network
from medseg.models.checkpoint import Checkpoint, weights_file
from medseg.step import Step

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from medseg.inference.engine import Filled

Axis = Literal[0, 1, 2]
Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class _Asked(Step, ABC):
    """Options of every step that asks a network.

    ``precision`` is what the network computes in; the blending is always float32.
    """

    model: Network
    weights: Path | Checkpoint | None = None
    overlap: float = 0.5
    blending: Literal["gaussian", "constant"] = "gaussian"
    mirror: tuple[Axis, ...] = ()
    batch: int = 1
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str = "auto"

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise ValueError(f"overlap lies in [0, 1), not {self.overlap}")
        if self.batch < 1:
            raise ValueError(f"batch is at least 1, not {self.batch}")
        if len(set(self.mirror)) != len(self.mirror):
            raise ValueError(f"mirror names each axis once, not {self.mirror}")

    @abstractmethod
    def _logits(self, image: Tensor, labels: Labels) -> Iterator[Tensor]:
        """Logits of ``image (C, X, Y, Z)`` as rows (R, Y, Z, K), each when it is finished."""

    def __call__(self, volume: Volume, labels: Labels) -> Scores:
        """Probabilities of every label on the volume's own grid."""

        def whole(said: Iterator[Tensor]) -> Tensor:
            first, data = 0, None
            for rows in said:
                if data is None:
                    data = rows.new_empty((*volume.grid.shape, rows.shape[-1]))
                data[first : first + len(rows)] = rows
                first += len(rows)
            assert data is not None  # a volume has a voxel at least
            return data.movedim(-1, 0)

        data, cautions = self._tried(volume, labels, whole)
        return Scores(data, volume.grid, labels, cautions)

    def decided_on(
        self,
        volume: Volume,
        labels: Labels,
        grid: Grid,
        timed: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> tuple[LabelMap, tuple[Caution, ...]]:
        """The mask on another grid, painted while the network is still asked.

        Equal to deciding on the whole of the probabilities, of which no more are held than one
        set of windows. ``Painting.possible`` says whether the grids allow it; ``timed`` is
        entered whenever there is something to decide.
        """
        from medseg.inference.decision import Painting

        def painted(said: Iterator[Tensor]) -> LabelMap:
            painting = Painting(volume.grid, grid, labels)
            for rows in said:
                with timed():
                    painting.take(rows.cpu())
            return LabelMap(painting.mask, grid, labels)

        return self._tried(volume, labels, painted)

    @abstractmethod
    def held_floats(self, grid: Grid, labels: Labels) -> float:
        """Numbers that are held at once while the mask is painted, the network's own aside."""

    def _tried(
        self, volume: Volume, labels: Labels, take: Callable[[Iterator[Tensor]], Made]
    ) -> tuple[Made, tuple[Caution, ...]]:
        """What is made of the rows; once more in float32 where a lower precision overflows."""
        cautions = self._left_out(volume, labels)
        try:
            return take(self.rows(volume, labels)), cautions
        except _OverflowError:
            if self.precision == "float32":
                raise _not_finite() from None
        try:
            made = take(replace(self, precision="float32").rows(volume, labels))
        except _OverflowError:
            raise _not_finite() from None
        told = f"{self.precision} overflowed; the study was done in float32"
        return made, (Caution("W_FALLBACK", told), *cautions)

    def rows(self, volume: Volume, labels: Labels) -> Iterator[Tensor]:
        """Probabilities as rows (R, Y, Z, K) along the first axis, each when it is finished."""
        import torch

        from medseg.models.device import device_named

        # torch takes neither arrays that cannot be written to nor those that run backwards.
        data = np.require(volume.data, requirements=["C", "W"])
        try:
            with torch.inference_mode():
                image = torch.from_numpy(data).to(device_named(self.device))
                for rows in self._logits(image, labels):
                    if not torch.isfinite(rows).all():
                        raise _OverflowError
                    yield torch.softmax(rows, -1) if labels.exclusive else rows.sigmoid_()
        except torch.OutOfMemoryError as error:
            told = "the network needs more memory than the device has; lower 'batch' or 'window'"
            raise StudyError("E_GPU_MEMORY", told) from error
        except RuntimeError as error:
            if "DefaultCPUAllocator" not in str(error):
                raise
            told = "the network needs more memory than the machine has; lower 'batch' or 'window'"
            raise StudyError("E_MEMORY", told) from error

    def _left_out(self, volume: Volume, labels: Labels) -> tuple[Caution, ...]:
        from medseg.models.device import device_named

        unused = self._filled(volume.channels, labels, device_named(self.device)).unused
        if not unused:
            return ()
        some = ", ".join(unused[:3]) + (" ..." if len(unused) > 3 else "")
        told = f"{len(unused)} tensors of the checkpoint have no place in the network: {some}"
        return (Caution("W_UNUSED_WEIGHTS", told),)

    def _network(
        self, image: Tensor, labels: Labels, mirror: Sequence[int]
    ) -> Callable[[Tensor], Tensor]:
        from medseg.inference.engine import mirrored
        from medseg.models.device import autocast

        module = self._filled(image.shape[0], labels, image.device).module

        def ask(windows: Any) -> Any:
            with autocast(image.device, self.precision):
                return module(windows)

        return mirrored(ask, mirror)

    def _filled(self, channels: int, labels: Labels, device: torch.device) -> Filled:
        from medseg.inference.engine import filled

        if self.weights is None:
            raise ModelError(
                "E_CHECKPOINT", "the pipeline names no weights; train it, or give a model folder"
            )
        sizes = (channels, labels.channels)
        stamp = _stamp(weights_file(self.weights))
        return filled(self.model, self.weights, sizes, str(device), stamp)


def _slab_floats(grid: Grid, window: Sequence[int], overlap: float, labels: Labels) -> float:
    x, y, z = (max(side, w) for side, w in zip(grid.shape, window, strict=True))
    deep = min(window[0], x)
    # The slab; the rows that are finished, normalised and turned to probabilities; the image
    # itself was held before. Decided rows are the same as those given.
    rows = max(1, round(deep * (1 - overlap))) if deep < x else x
    return float((deep + 3 * rows) * y * z * labels.channels)


class _OverflowError(ArithmeticError):
    """The network's numbers left what its precision can hold."""


def _not_finite() -> StudyError:
    return StudyError("E_NONFINITE_OUTPUT", "the network's logits are not finite numbers")


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes when a file does, be it rewritten or replaced."""
    if not path.exists():
        return ()
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


@dataclass(frozen=True, kw_only=True)
class SlidingWindow(_Asked):
    """Ask a 3D network window by window and blend what it says.

    ``window`` is in voxels of the preprocessed grid; smaller volumes are padded with zeros.
    ``overlap`` is the share of a window that its neighbour sees too. ``mirror`` averages over
    mirror images along these axes. Gaussian blending after Isensee et al. 2021.
    """

    window: tuple[int, int, int]

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.window) < 1:
            raise ValueError(f"window is three sides of at least 1 voxel, not {self.window}")
        if self.model.spatial_dims != 3:
            raise ValueError("sliding_window asks a 3D network; for a 2D one there is 'slices'")

    def held_floats(self, grid: Grid, labels: Labels) -> float:
        """A slab as deep as a window, and the rows of it that are given and decided."""
        return _slab_floats(grid, self.window, self.overlap, labels)

    def _logits(self, image: Tensor, labels: Labels) -> Iterator[Tensor]:
        from medseg.inference.windows import Windows, blended_rows, grown, trimmed

        larger, inner = grown(image, self.window)
        x, y, z = larger.shape[1:]
        windows = Windows((x, y, z), self.window, self.overlap, self.blending)
        ask = self._network(image, labels, self.mirror)
        return trimmed(blended_rows(larger, windows, ask, self.batch), inner)


@dataclass(frozen=True, kw_only=True)
class Slices(_Asked):
    """Ask a 2D network slice by slice, along one axis or the mean of several.

    ``axes`` are the normals of the slices (2: axial in a volume turned to RAS). ``window`` is
    the size within a slice; a slice that is smaller is padded with zeros.
    """

    window: tuple[int, int]
    axes: tuple[Axis, ...] = (2,)
    batch: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.window) < 1:
            raise ValueError(f"window is two sides of at least 1 voxel, not {self.window}")
        if not self.axes or len(set(self.axes)) != len(self.axes):
            raise ValueError(f"axes names one axis or several different ones, not {self.axes}")
        if self.model.spatial_dims != 2:
            raise ValueError("slices asks a 2D network; for a 3D one there is 'sliding_window'")

    def _box(self, axis: int) -> tuple[int, int, int]:
        """The window as a box one voxel thick along ``axis``."""
        within = iter(self.window)
        x, y, z = (1 if side == axis else next(within) for side in range(3))
        return x, y, z

    def held_floats(self, grid: Grid, labels: Labels) -> float:
        """For each axis a slab as deep as a window lies in it, and the rows that are given."""
        boxes = [self._box(axis) for axis in self.axes]
        return sum(_slab_floats(grid, box, self.overlap, labels) for box in boxes)

    def _logits(self, image: Tensor, labels: Labels) -> Iterator[Tensor]:
        from medseg.inference.windows import averaged

        return averaged([self._along(image, labels, axis) for axis in self.axes])

    def _along(self, image: Tensor, labels: Labels, axis: int) -> Iterator[Tensor]:
        from medseg.inference.windows import Windows, blended_rows, grown, trimmed

        box = self._box(axis)
        larger, inner = grown(image, box)
        shape = (larger.shape[1], larger.shape[2], larger.shape[3])
        windows = Windows(shape, box, self.overlap, self.blending)
        # Mirroring counts the axes of the volume; across the slices there is nothing to mirror.
        kept = [side for side in range(3) if side != axis]
        mirror = [kept.index(m) for m in self.mirror if m != axis]
        ask = self._network(image, labels, mirror)

        def flat(boxes: Tensor) -> Tensor:
            return ask(boxes.squeeze(2 + axis)).unsqueeze(2 + axis)

        return trimmed(blended_rows(larger, windows, flat, self.batch), inner)
