"""A network asked window by window; in 3D, and in 2D on slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medseg.image import Grid, Labels
from medseg.inference.asked import Asked, Axis

if TYPE_CHECKING:
    from torch import Tensor


def _slab_floats(grid: Grid, window: Sequence[int], overlap: float, labels: Labels) -> float:
    x, y, z = (max(side, w) for side, w in zip(grid.shape, window, strict=True))
    deep = min(window[0], x)
    # The slab; the rows that are finished, normalised and turned to probabilities; the image
    # itself was held before. Decided rows are the same as those given.
    rows = max(1, round(deep * (1 - overlap))) if deep < x else x
    return float((deep + 3 * rows) * y * z * labels.channels)


@dataclass(frozen=True, kw_only=True)
class SlidingWindow(Asked):
    """Ask a 3D network window by window and blend what it says.

    ``window`` is in voxels of the preprocessed grid; smaller volumes are padded with zeros.
    ``overlap`` is the share of a window that its neighbour sees too. ``mirror`` averages over
    mirror images along these axes. Gaussian blending after Isensee et al. 2021.

    ``engine`` is what computes the network: torch, or on a CPU openvino or onnxruntime with the
    same weights; auto is the fastest of them that is installed. ``precision`` is what it computes
    in; auto takes bfloat16 where the first study's mask agrees with float32's (Dice 0.995).
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
        from medseg.inference.windows import Windows, blended, grown, trimmed

        larger, inner = grown(image, self.window)
        x, y, z = larger.shape[1:]
        windows = Windows((x, y, z), self.window, self.overlap, self.blending)
        ask = self._network(image, labels, self.window, self.mirror)
        return trimmed(blended(larger, windows, ask, self.batch), inner)


@dataclass(frozen=True, kw_only=True)
class Slices(Asked):
    """Ask a 2D network slice by slice, along one axis or the mean of several.

    ``axes`` are the normals of the slices (2: axial in a volume turned to RAS). ``window`` is
    the size within a slice; a slice that is smaller is padded with zeros.

    ``engine`` is what computes the network: torch, or on a CPU openvino or onnxruntime with the
    same weights; auto is the fastest of them that is installed. ``precision`` is what it computes
    in; auto takes bfloat16 where the first study's mask agrees with float32's (Dice 0.995).
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
        from medseg.inference.windows import Windows, blended, grown, trimmed

        box = self._box(axis)
        larger, inner = grown(image, box)
        shape = (larger.shape[1], larger.shape[2], larger.shape[3])
        windows = Windows(shape, box, self.overlap, self.blending)
        # Mirroring counts the axes of the volume; across the slices there is nothing to mirror.
        kept = [side for side in range(3) if side != axis]
        mirror = [kept.index(m) for m in self.mirror if m != axis]
        ask = self._network(image, labels, self.window, mirror)

        def flat(boxes: Tensor) -> Tensor:
            return ask(boxes.squeeze(2 + axis)).unsqueeze(2 + axis)

        return trimmed(blended(larger, windows, flat, self.batch), inner)
