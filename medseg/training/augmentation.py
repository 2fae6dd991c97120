"""Random changes of training patches, whole batches at a time, in torch.

The names and the laws are those of MONAI's transforms; so are the draws, in their order, which a
test holds them to. Chance comes from the seed and the number of the batch alone, each patch with
a source of its own, so that a resumed run sees what an undisturbed one would.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import pi
from typing import TYPE_CHECKING, Any, ClassVar

from medseg.image import Labels
from medseg.step import Step
from medseg.training.sides import sided_pairs

if TYPE_CHECKING:
    from numpy.random import RandomState
    from torch import Tensor

Patch = tuple["Tensor", "Tensor"]
"""``image (C, *space)`` float32 and ``target (1, *space)`` of mask values."""
Patches = tuple["Tensor", "Tensor"]
"""``images (B, C, *space)`` float32 and ``targets (B, 1, *space)`` of mask values."""


def _within(name: str, pair: tuple[float, float], lowest: float) -> None:
    if not lowest <= pair[0] <= pair[1]:
        raise ValueError(f"{name} is two numbers from {lowest} on, rising, not {pair}")


@dataclass(frozen=True, kw_only=True)
class Augmentation(Step, ABC):
    """Something that happens to a patch with probability ``prob``."""

    prob: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.prob <= 1:
            raise ValueError(f"prob lies in [0, 1], not {self.prob}")

    @abstractmethod
    def __call__(self, patch: Patch, chance: RandomState) -> Patch:
        """The patch, changed or not, as ``chance`` has it."""

    def of(self, labels: Labels) -> Augmentation:
        """The same for masks with these labels; ValueError where it does not fit them."""
        del labels
        return self

    def on_batch(self, images: Tensor, targets: Tensor, chances: Sequence[RandomState]) -> Patches:
        """Every patch changed by its own chance; one after the other unless told better."""
        import torch

        patches = zip(images, targets, chances, strict=True)
        done = [self((image, target), chance) for image, target, chance in patches]
        return torch.stack([image for image, _ in done]), torch.stack([one for _, one in done])


@dataclass(frozen=True, kw_only=True)
class _Together(Augmentation):
    """Draws for each patch, then changes at once all those that are to be changed."""

    @abstractmethod
    def _drawn(self, chance: RandomState, shape: Sequence[int]) -> Any:
        """What shall become of a patch (C, *space); None leaves it as it is."""

    @abstractmethod
    def _changed(self, images: Tensor, targets: Tensor, drawn: Sequence[Any]) -> Patches:
        """The patches changed, each by what was drawn for it."""

    def __call__(self, patch: Patch, chance: RandomState) -> Patch:
        """A batch of one."""
        images, targets = self.on_batch(patch[0][None], patch[1][None], [chance])
        return images[0], targets[0]

    def on_batch(self, images: Tensor, targets: Tensor, chances: Sequence[RandomState]) -> Patches:
        """Those patches that chance has chosen, all at once."""
        drawn = [self._drawn(chance, images.shape[1:]) for chance in chances]
        chosen = [place for place, one in enumerate(drawn) if one is not None]
        if not chosen:
            return images, targets
        news = self._changed(images[chosen], targets[chosen], [drawn[n] for n in chosen])
        if len(chosen) == len(drawn):
            return news
        kept = images.clone(), targets.clone()
        for before, after in zip(kept, news, strict=True):
            before[chosen] = after
        return kept


@dataclass(frozen=True, kw_only=True)
class _OfIntensity(_Together):
    """Changes images and leaves targets."""

    @abstractmethod
    def _look(self, images: Tensor, drawn: Sequence[Any]) -> Tensor:
        """The images with other intensities."""

    def _changed(self, images: Tensor, targets: Tensor, drawn: Sequence[Any]) -> Patches:
        return self._look(images, drawn), targets


def _each(numbers: Sequence[float], like: Tensor) -> Tensor:
    """A number a patch, to calculate with ``like (B, C, *space)``."""
    return like.new_tensor(list(numbers)).reshape(-1, *(1,) * (like.ndim - 1))


@dataclass(frozen=True, kw_only=True)
class RandFlip(_Together):
    """Mirror along each of ``axes`` (0 is x), each with probability ``prob``.

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
class RandAffine(_Together):
    """Turn by up to ``rotate_degrees``, scale by ``scale_range``, shift by ``translate_voxels``.

    One angle for all axes or one for each of three; a 2D patch is turned by the first. A scale
    above 1 magnifies. Zeros come in from outside.
    """

    rotate_degrees: float | tuple[float, float, float] = 15.0
    scale_range: tuple[float, float] = (0.85, 1.2)
    isotropic: bool = True
    translate_voxels: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _within("scale_range", self.scale_range, 0.1)
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

    def _changed(self, images: Tensor, targets: Tensor, drawn: Sequence[Any]) -> Patches:
        from medseg.training.warping import moved, read_by

        return moved(images, targets, read_by(drawn, images))


@dataclass(frozen=True, kw_only=True)
class RandElastic(_Together):
    """Bend: points ``control_voxels`` apart move by up to ``magnitude_voxels`` along each axis.

    What lies between moves linearly with them (free-form deformation, Rueckert et al. 1999), as
    MONAI's Rand2DElastic bends. Nothing folds: a magnitude is at most a quarter of the distance.
    Zeros come in from outside.
    """

    prob: float = 0.2
    control_voxels: float = 16.0
    magnitude_voxels: tuple[float, float] = (0.0, 3.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        _within("magnitude_voxels", self.magnitude_voxels, 0.0)
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
        return magnitude * chance.uniform(-1, 1, (len(points), *points))

    def _changed(self, images: Tensor, targets: Tensor, drawn: Sequence[Any]) -> Patches:
        from medseg.training.warping import bent, moved

        return moved(images, targets, bent(drawn, images))


@dataclass(frozen=True, kw_only=True)
class RandGaussianNoise(_OfIntensity):
    """Add noise with a standard deviation drawn from 0 to ``std``."""

    prob: float = 0.15
    std: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.std < 0:
            raise ValueError(f"std is 0 or more, not {self.std}")

    def _drawn(self, chance: RandomState, shape: Sequence[int]) -> Any:
        if chance.rand() >= self.prob:
            return None
        return chance.normal(0.0, chance.uniform(0, self.std), size=tuple(shape)).astype("float32")

    def _look(self, images: Tensor, drawn: Sequence[Any]) -> Tensor:
        import numpy as np
        import torch

        return images + torch.from_numpy(np.stack(drawn)).to(images)


@dataclass(frozen=True, kw_only=True)
class RandGaussianSmooth(_OfIntensity):
    """Blur with a width drawn from ``sigma_voxels``, each axis its own."""

    prob: float = 0.15
    sigma_voxels: tuple[float, float] = (0.5, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        _within("sigma_voxels", self.sigma_voxels, 0.0)

    def _drawn(self, chance: RandomState, shape: Sequence[int]) -> Any:
        if chance.rand() >= self.prob:
            return None
        return [chance.uniform(*self.sigma_voxels) for _ in range(3)][: len(shape) - 1]

    def _look(self, images: Tensor, drawn: Sequence[Any]) -> Tensor:
        from medseg.training.warping import blurred

        return blurred(images, drawn)


@dataclass(frozen=True, kw_only=True)
class RandScaleIntensity(_OfIntensity):
    """Multiply by 1 plus a number drawn from -``factors`` to ``factors``."""

    prob: float = 0.15
    factors: float = 0.25

    def _drawn(self, chance: RandomState, shape: Sequence[int]) -> Any:
        del shape
        if chance.rand() >= self.prob:
            return None
        return 1 + chance.uniform(-abs(self.factors), abs(self.factors))

    def _look(self, images: Tensor, drawn: Sequence[Any]) -> Tensor:
        return images * _each(drawn, images)


@dataclass(frozen=True, kw_only=True)
class RandShiftIntensity(_OfIntensity):
    """Add a number drawn from -``offsets`` to ``offsets``."""

    prob: float = 0.15
    offsets: float = 0.1

    def _drawn(self, chance: RandomState, shape: Sequence[int]) -> Any:
        del shape
        if chance.rand() >= self.prob:
            return None
        return chance.uniform(-abs(self.offsets), abs(self.offsets))

    def _look(self, images: Tensor, drawn: Sequence[Any]) -> Tensor:
        return images + _each(drawn, images)


@dataclass(frozen=True, kw_only=True)
class RandAdjustContrast(_OfIntensity):
    """Raise intensities, scaled to [0, 1] and back, to a power drawn from ``gamma``.

    Mean and standard deviation of the patch stay as they were.
    """

    prob: float = 0.15
    gamma: tuple[float, float] = (0.7, 1.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        _within("gamma", self.gamma, 0.01)

    def _drawn(self, chance: RandomState, shape: Sequence[int]) -> Any:
        del shape
        return None if chance.rand() >= self.prob else chance.uniform(*self.gamma)

    def _look(self, images: Tensor, drawn: Sequence[Any]) -> Tensor:
        over = tuple(range(1, images.ndim))
        mean, deviation = images.mean(over, keepdim=True), images.std(over, keepdim=True)
        low = images.amin(over, keepdim=True)
        reach = images.amax(over, keepdim=True) - low
        new = ((images - low) / (reach + 1e-7)) ** _each(drawn, images) * reach + low
        new = new - new.mean(over, keepdim=True)
        return deviation * (new / (new.std(over, keepdim=True) + 1e-8)) + mean


@dataclass(frozen=True, kw_only=True)
class RandBiasField(_OfIntensity):
    """Multiply by a smooth field, as an MR coil does; coefficients drawn from ``coeff_range``.

    The field is the exponential of Legendre polynomials up to the third degree.
    """

    prob: float = 0.15
    coeff_range: tuple[float, float] = (0.0, 0.1)

    def _drawn(self, chance: RandomState, shape: Sequence[int]) -> Any:
        if chance.rand() >= self.prob:
            return None
        return chance.uniform(*self.coeff_range, 20 if len(shape) == 4 else 10)

    def _look(self, images: Tensor, drawn: Sequence[Any]) -> Tensor:
        import torch

        from medseg.training.warping import legendre

        fields = [legendre(one, images.shape[2:]) for one in drawn]
        return images * torch.stack(fields)[:, None].exp().to(images)


@dataclass(frozen=True, kw_only=True)
class RandLowResolution(_OfIntensity):
    """Sample down to a share of the voxels drawn from ``zoom_range`` and up again."""

    prob: float = 0.15
    zoom_range: tuple[float, float] = (0.5, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        _within("zoom_range", self.zoom_range, 0.05)

    def _drawn(self, chance: RandomState, shape: Sequence[int]) -> Any:
        del shape
        return None if chance.uniform() >= self.prob else chance.uniform(*self.zoom_range)

    def _look(self, images: Tensor, drawn: Sequence[Any]) -> Tensor:
        import torch
        from torch.nn.functional import interpolate

        space = tuple(images.shape[2:])
        smooth = "trilinear" if len(space) == 3 else "bilinear"
        done = []
        for image, zoom in zip(images, drawn, strict=True):
            coarse = [max(1, round(side * zoom)) for side in space]
            small = interpolate(image[None], size=coarse, mode="nearest-exact")
            done.append(interpolate(small, size=space, mode=smooth)[0])
        return torch.stack(done)


AUGMENTATION: dict[str, type[Augmentation]] = {
    "rand_flip": RandFlip,
    "rand_affine": RandAffine,
    "rand_elastic": RandElastic,
    "rand_gaussian_noise": RandGaussianNoise,
    "rand_gaussian_smooth": RandGaussianSmooth,
    "rand_scale_intensity": RandScaleIntensity,
    "rand_shift_intensity": RandShiftIntensity,
    "rand_adjust_contrast": RandAdjustContrast,
    "rand_bias_field": RandBiasField,
    "rand_low_resolution": RandLowResolution,
}
