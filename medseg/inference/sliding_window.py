"""A network asked window by window; in 3D, and in 2D on slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medseg.image import Labels
from medseg.inference.asked import Asked, Axis, Corner
from medseg.inference.attempts import Order
from medseg.inference.limits import Placement

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class SlidingWindow(Asked):
    """Ask a 3D network window by window and blend what it says.

    ``window`` is in voxels of the preprocessed grid; smaller volumes are padded with zeros.
    ``overlap`` is the share of a window that its neighbour sees too. ``mirror`` averages over
    mirror images along these axes. Gaussian blending after Isensee et al. 2021.

    ``engine`` is what computes the network: torch, or on a CPU openvino or onnxruntime with the
    same weights; auto is the fastest of them that is installed. ``precision`` is what it computes
    in; auto takes bfloat16 where the first study's mask agrees with float32's (Dice 0.995).
    ``compile`` has torch compile it first: it needs a C++ compiler and a minute once.
    """

    window: tuple[int, int, int]

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.window) < 1:
            raise ValueError(f"window is three sides of at least 1 voxel, not {self.window}")
        if self.model.spatial_dims != 3:
            raise ValueError("sliding_window asks a 3D network; for a 2D one there is 'slices'")

    @property
    def boxes(self) -> Sequence[Corner]:
        """The window itself."""
        return [self.window]

    @property
    def seen(self) -> tuple[int, ...]:
        """The window itself."""
        return self.window

    def _logits(
        self, image: Tensor, labels: Labels, place: Placement, order: Order
    ) -> Iterator[Tensor]:
        ask = self._network(len(image), labels, place.compute, self.mirror)
        return self._walked(image, self.window, ask, place, order)


@dataclass(frozen=True, kw_only=True)
class Slices(Asked):
    """Ask a 2D network slice by slice, along one axis or the mean of several.

    ``axes`` are the normals of the slices (2: axial in a volume turned to RAS). ``window`` is
    the size within a slice; a slice that is smaller is padded with zeros.

    ``engine`` is what computes the network: torch, or on a CPU openvino or onnxruntime with the
    same weights; auto is the fastest of them that is installed. ``precision`` is what it computes
    in; auto takes bfloat16 where the first study's mask agrees with float32's (Dice 0.995).
    ``compile`` has torch compile it first: it needs a C++ compiler and a minute once.
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

    @property
    def boxes(self) -> Sequence[Corner]:
        """For each normal the window as a box one voxel thick."""
        return [self._box(axis) for axis in self.axes]

    @property
    def seen(self) -> tuple[int, ...]:
        """The window itself."""
        return self.window

    def _box(self, axis: int) -> Corner:
        within = iter(self.window)
        x, y, z = (1 if side == axis else next(within) for side in range(3))
        return x, y, z

    def _logits(
        self, image: Tensor, labels: Labels, place: Placement, order: Order
    ) -> Iterator[Tensor]:
        from medseg.inference.windows import averaged

        return averaged([self._along(image, labels, axis, place, order) for axis in self.axes])

    def _along(
        self, image: Tensor, labels: Labels, axis: int, place: Placement, order: Order
    ) -> Iterator[Tensor]:
        # Mirroring counts the axes of the volume; across the slices there is nothing to mirror.
        kept = [side for side in range(3) if side != axis]
        mirror = [kept.index(m) for m in self.mirror if m != axis]
        ask = self._network(len(image), labels, place.compute, mirror)

        def flat(boxes: Tensor) -> Tensor:
            return ask(boxes.squeeze(2 + axis)).unsqueeze(2 + axis)

        return self._walked(image, self._box(axis), flat, place, order)
