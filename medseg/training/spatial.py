"""Random changes of where voxels lie: mirror images, affine maps, bends."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import pi
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medseg.image import Labels
from medseg.training.augmentation import Augmentation, Patches, Together, middle, within
from medseg.training.sides import sided_pairs

if TYPE_CHECKING:
    from numpy.random import RandomState
    from torch import Tensor

Sides = NDArray[np.intp]
"""Voxels along each axis of a patch."""


@dataclass(frozen=True, kw_only=True)
class Spatial(Together):
    """Moves voxels; what was drawn for a patch tells how far beyond it voxels are read."""

    def reach(self, drawn: Any, sides: Sides) -> Sides:
        """How many voxels before and behind a patch of ``sides`` are read along each axis."""
        del drawn
        return np.zeros_like(sides)


@dataclass(frozen=True, kw_only=True)
class Reading(Spatial):
    """Reads every voxel from another place, at times from beyond the patch."""

    @abstractmethod
    def _places(self, drawn: Sequence[Any], like: Tensor) -> Tensor:
        """Where the voxels of ``like`` are read from: (B, *space, dims), in voxels of it."""

    def _changed(self, images: Tensor, targets: Tensor, drawn: Sequence[Any]) -> Patches:
        return self._into(images, targets, drawn, images.shape[2:])

    def _into(
        self, images: Tensor, targets: Tensor, drawn: Sequence[Any], sides: Sequence[int]
    ) -> Patches:
        """Of larger patches as many voxels are read as the middle has."""
        from medseg.training.warping import moved

        inner = middle(images, sides)
        margin = [(n - side) // 2 for n, side in zip(images.shape[2:], sides, strict=True)]
        places = self._places(drawn, inner)
        return moved(images, targets, places + places.new_tensor(margin))


@dataclass(frozen=True)
class Moves:
    """The ``steps`` of a recipe before the first that is not spatial, drawn for each patch.

    They are drawn before there are patches, which are then cut as large as they will be read.
    """

    steps: Sequence[Spatial]
    drawn: Sequence[Sequence[Any]]

    @classmethod
    def of(
        cls, changes: Sequence[Augmentation], chances: Sequence[RandomState], shape: Sequence[int]
    ) -> Moves:
        """Those of ``changes`` to patches of a ``shape`` (C, *space)."""
        steps: list[Spatial] = []
        for one in changes:
            if not isinstance(one, Spatial):
                break
            steps.append(one)
        return cls(steps, [one.drawn(chances, shape) for one in steps])

    def sizes(self, sides: Sequence[int], spare: Sequence[Sides]) -> list[Sides]:
        """The sides of patches before every step and, as they are wanted, after the last.

        ``spare`` are the voxels that a volume has beyond each patch along every axis.
        """
        last = np.asarray(sides, np.intp)
        margins, found = [np.zeros_like(last) for _ in spare], [last]
        for step, drawn in zip(reversed(self.steps), reversed(self.drawn), strict=True):
            for place, one in enumerate(drawn):
                if one is not None:
                    margins[place] = margins[place] + step.reach(one, last + 2 * margins[place])
            found.append(last + 2 * np.minimum(margins, spare).max(0))
        return found[::-1]

    def on(self, images: Tensor, targets: Tensor, sizes: Sequence[Sides]) -> Patches:
        """The patches after all steps; ``sizes`` are theirs before and after each."""
        for step, drawn, sides in zip(self.steps, self.drawn, sizes[1:], strict=True):
            images, targets = step.on_drawn(images, targets, drawn, sides.tolist())
        return images, targets


@dataclass(frozen=True, kw_only=True)
class RandFlip(Spatial):
    """Mirror along each of ``axes`` (0 is x), each with probability ``prob``.

    They are the volume's axes also where a network learns from slices, which lack one of them.

    Leave out axes along which a label changes its name, such as x with left and right kidneys;
    or name such pairs by ``swap: {kidney_left: kidney_right}``: they are exchanged where axis 0
    is mirrored.
    """

    label_fields: ClassVar[tuple[str, ...]] = ("swap",)

    axes: tuple[int, ...] = (0, 1, 2)
    swap: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.axes or not set(self.axes) <= {0, 1, 2} or len(set(self.axes)) < len(self.axes):
            raise ValueError(f"axes are different ones of 0, 1 and 2, not {self.axes}")
        names = [*self.swap, *self.swap.values()]
        if len(set(names)) < len(names):
            raise ValueError(f"swap names every label once, not {dict(self.swap)}")

    def of(self, labels: Labels) -> Augmentation:
        """With the values of the labels that are exchanged; no left is to become a right."""
        for one, other in sided_pairs(labels.names) if 0 in self.axes and self.prob else ():
            if self.swap.get(one) != other and self.swap.get(other) != one:
                told = f"{one!r} would be called {other!r} by a mirror image along axis 0"
                raise ValueError(f"axes: {told}; name the pair in 'swap', or leave axis 0 out")
        pairs = [(labels[one].values, labels[other].values) for one, other in self.swap.items()]
        if any(len(one) != 1 or len(other) != 1 for one, other in pairs):
            raise ValueError("swap is for labels with one value each")
        values = tuple((one[0], other[0]) for one, other in pairs)
        return _Swapping(prob=self.prob, axes=self.axes, swap=self.swap, pairs=values)

    def across(self, normal: int) -> Augmentation:
        """With the axes counted as slices have them."""
        kept = [axis for axis in range(3) if axis != normal]
        flat = tuple(kept.index(axis) for axis in self.axes if axis in kept)
        return replace(self, axes=flat) if flat else replace(self, prob=0.0)

    def _drawn(self, chance: RandomState, shape: Sequence[int]) -> Any:
        axes = [1 + axis for axis in self.axes if chance.uniform() < self.prob]
        return tuple(dim for dim in axes if dim < len(shape)) or None

    def _changed(self, images: Tensor, targets: Tensor, drawn: Sequence[Any]) -> Patches:
        images, targets = images.clone(), targets.clone()
        for place, dims in enumerate(drawn):
            images[place] = images[place].flip(dims)
            targets[place] = targets[place].flip(dims)
        return images, targets


@dataclass(frozen=True, kw_only=True)
class _Swapping(RandFlip):
    """Knows the values of its pairs."""

    pairs: tuple[tuple[int, int], ...] = ()

    def _changed(self, images: Tensor, targets: Tensor, drawn: Sequence[Any]) -> Patches:
        images, targets = super()._changed(images, targets, drawn)
        sides = [place for place, dims in enumerate(drawn) if 1 in dims]
        if sides and self.pairs:
            before = targets[sides]
            after = before.clone()
            for one, other in self.pairs:
                after[before == one], after[before == other] = other, one
            targets[sides] = after
        return images, targets


@dataclass(frozen=True, kw_only=True)
class RandAffine(Reading):
    """Turn by up to ``rotate_degrees``, scale by ``scale_range``, shift by ``translate_voxels``.

    One angle for all axes or one for each of three; a 2D patch is turned by the first. A scale
    above 1 magnifies. Zeros come in from outside of the volume; of the patch, where a change of
    intensities comes first.
    """

    rotate_degrees: float | tuple[float, float, float] = 15.0
    scale_range: tuple[float, float] = (0.85, 1.2)
    isotropic: bool = True
    translate_voxels: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        within("scale_range", self.scale_range, 0.1)
        if min(self._angles()) < 0:
            raise ValueError(f"rotate_degrees is 0 or more, not {self.rotate_degrees}")
        if self.translate_voxels < 0:
            raise ValueError(f"translate_voxels is 0 or more, not {self.translate_voxels}")

    def _angles(self) -> tuple[float, float, float]:
        turns = self.rotate_degrees
        return turns if isinstance(turns, tuple) else (turns, turns, turns)

    def _drawn(self, chance: RandomState, shape: Sequence[int]) -> Any:
        from medseg.training.warping import affine

        if chance.uniform() >= self.prob:
            return None
        dims = len(shape) - 1
        angles = [chance.uniform(-turn, turn) * pi / 180 for turn in self._angles()]
        # The matrix reads from the source: to magnify is to step less far.
        scales = [1 / chance.uniform(*self.scale_range) for _ in range(dims)]
        if self.isotropic:
            scales = scales[:1] * dims
        shifts = [chance.uniform(-1, 1) * self.translate_voxels for _ in range(dims)]
        return affine(angles, scales, shifts)

    def reach(self, drawn: Any, sides: Sides) -> Sides:
        """As far as the farthest corner comes to lie beyond the patch."""
        half = (sides - 1) / 2
        farthest = np.abs(drawn[:, :-1]) @ half + np.abs(drawn[:, -1])
        return np.asarray(np.ceil(farthest - half).clip(0), np.intp)

    def _places(self, drawn: Sequence[Any], like: Tensor) -> Tensor:
        from medseg.training.warping import read_by

        return read_by(drawn, like)


class Bend(NamedTuple):
    """How far points (dims, *coarse), spread over a patch of ``sides``, move."""

    points: NDArray[np.float64]
    sides: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class RandElastic(Reading):
    """Bend: points ``control_voxels`` apart move by up to ``magnitude_voxels`` along each axis.

    What lies between moves linearly with them (free-form deformation, Rueckert et al. 1999), as
    MONAI's Rand2DElastic bends. Nothing folds: a magnitude is at most a quarter of the distance.
    Zeros come in from outside, as with rand_affine.
    """

    prob: float = 0.2
    control_voxels: float = 16.0
    magnitude_voxels: tuple[float, float] = (0.0, 3.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        within("magnitude_voxels", self.magnitude_voxels, 0.0)
        if self.control_voxels < 4 * self.magnitude_voxels[1] or self.control_voxels < 1:
            raise ValueError(
                f"control_voxels is 4 times magnitude_voxels or more, not {self.control_voxels}"
            )

    def _drawn(self, chance: RandomState, shape: Sequence[int]) -> Any:
        if chance.uniform() >= self.prob:
            return None
        magnitude = chance.uniform(*self.magnitude_voxels)
        # So many points that neighbours are at least as far apart as was asked for.
        points = [max(2, 1 + int((side - 1) / self.control_voxels)) for side in shape[1:]]
        moves = magnitude * chance.uniform(-1, 1, (len(points), *points))
        return Bend(moves, tuple(shape[1:]))

    def reach(self, drawn: Any, sides: Sides) -> Sides:
        """As far as the point goes that moves most."""
        most = np.abs(drawn.points).reshape(len(sides), -1).max(1)
        return np.asarray(np.ceil(most), np.intp)

    def _places(self, drawn: Sequence[Any], like: Tensor) -> Tensor:
        """What lies beyond the patch that was drawn for moves as its border does."""
        from torch.nn.functional import pad

        from medseg.training.warping import bent, read_by

        inner = middle(like, drawn[0].sides)
        places = bent([one.points for one in drawn], inner)
        if inner.shape == like.shape:
            return places
        still = [np.eye(inner.ndim - 2, inner.ndim - 1)]
        spare = [n - side for n, side in zip(like.shape[2:], inner.shape[2:], strict=True)]
        around = [end for one in reversed(spare) for end in (one // 2, one - one // 2)]
        moves = pad((places - read_by(still, inner)).movedim(-1, 1), around, mode="replicate")
        return read_by(still, like) + moves.movedim(1, -1)
