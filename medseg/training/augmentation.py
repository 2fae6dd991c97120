"""Random changes of a training patch: MONAI's transforms behind typed options.

Each takes a patch and a source of chance and gives another patch. Chance comes from the seed
and the number of the batch alone, so that a resumed run sees what an undisturbed one would.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from math import pi
from typing import TYPE_CHECKING, Any

from medseg.step import Step

if TYPE_CHECKING:
    from numpy.random import RandomState
    from torch import Tensor

Patch = tuple["Tensor", "Tensor"]
"""``image (C, *space)`` float32 and ``target (1, *space)`` of mask values."""


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


@dataclass(frozen=True, kw_only=True)
class _OfIntensity(Augmentation):
    """Changes the image and leaves the target; the body is MONAI's."""

    @abstractmethod
    def _transform(self) -> Any:
        """The MONAI transform."""

    @cached_property
    def _built(self) -> Any:
        return self._transform()

    def __call__(self, patch: Patch, chance: RandomState) -> Patch:
        """The patch with another image, or as it was."""
        image, target = patch
        return _plain(self._built.set_random_state(state=chance)(image)), target


def _plain(image: Any) -> Tensor:
    """Without MONAI's record of what happened to it."""
    plain: Tensor = image.as_tensor() if hasattr(image, "as_tensor") else image
    return plain


@dataclass(frozen=True, kw_only=True)
class RandFlip(Augmentation):
    """Mirror along each of ``axes`` (0 is x), each with probability ``prob``.

    Leave out axes along which a label changes its name, such as left and right kidneys.
    """

    axes: tuple[int, ...] = (0, 1, 2)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.axes or not set(self.axes) <= {0, 1, 2} or len(set(self.axes)) < len(self.axes):
            raise ValueError(f"axes are different ones of 0, 1 and 2, not {self.axes}")

    def __call__(self, patch: Patch, chance: RandomState) -> Patch:
        """Image and target mirrored alike."""
        image, target = patch
        drawn = [1 + axis for axis in self.axes if chance.uniform() < self.prob]
        dims = [dim for dim in drawn if dim < image.ndim]
        return image.flip(dims), target.flip(dims)


@dataclass(frozen=True, kw_only=True)
class RandAffine(Augmentation):
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

    def __call__(self, patch: Patch, chance: RandomState) -> Patch:
        """Both moved by one random affine, interpolated once."""
        from monai.transforms import Affine

        if chance.uniform() >= self.prob:
            return patch
        dims = patch[0].ndim - 1
        angles = [chance.uniform(-turn, turn) * pi / 180 for turn in self._angles()]
        # MONAI's matrix reads from the source: to magnify is to step less far.
        scales = [1 / chance.uniform(*self.scale_range) for _ in range(dims)]
        if self.isotropic:
            scales = scales[:1] * dims
        shifts = [chance.uniform(-1, 1) * self.translate_voxels for _ in range(dims)]
        moved = []
        for voxels, mode in ((patch[0], "bilinear"), (patch[1], "nearest")):
            affine = Affine(
                rotate_params=angles if dims == 3 else angles[0],
                scale_params=scales,
                translate_params=shifts,
                padding_mode="zeros",
                mode=mode,
                image_only=True,
            )
            moved.append(_plain(affine(voxels)))
        return moved[0], moved[1]


@dataclass(frozen=True, kw_only=True)
class RandGaussianNoise(_OfIntensity):
    """Add noise with a standard deviation drawn from 0 to ``std``."""

    prob: float = 0.15
    std: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.std < 0:
            raise ValueError(f"std is 0 or more, not {self.std}")

    def _transform(self) -> Any:
        from monai.transforms import RandGaussianNoise as Monai

        return Monai(prob=self.prob, std=self.std)


@dataclass(frozen=True, kw_only=True)
class RandGaussianSmooth(_OfIntensity):
    """Blur with a width drawn from ``sigma_voxels``, each axis its own."""

    prob: float = 0.15
    sigma_voxels: tuple[float, float] = (0.5, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        _within("sigma_voxels", self.sigma_voxels, 0.0)

    def _transform(self) -> Any:
        from monai.transforms import RandGaussianSmooth as Monai

        sigma = self.sigma_voxels
        return Monai(prob=self.prob, sigma_x=sigma, sigma_y=sigma, sigma_z=sigma)


@dataclass(frozen=True, kw_only=True)
class RandScaleIntensity(_OfIntensity):
    """Multiply by 1 plus a number drawn from -``factors`` to ``factors``."""

    prob: float = 0.15
    factors: float = 0.25

    def _transform(self) -> Any:
        from monai.transforms import RandScaleIntensity as Monai

        return Monai(factors=self.factors, prob=self.prob)


@dataclass(frozen=True, kw_only=True)
class RandShiftIntensity(_OfIntensity):
    """Add a number drawn from -``offsets`` to ``offsets``."""

    prob: float = 0.15
    offsets: float = 0.1

    def _transform(self) -> Any:
        from monai.transforms import RandShiftIntensity as Monai

        return Monai(offsets=self.offsets, prob=self.prob)


@dataclass(frozen=True, kw_only=True)
class RandAdjustContrast(_OfIntensity):
    """Raise intensities, scaled to [0, 1] and back, to a power drawn from ``gamma``."""

    prob: float = 0.15
    gamma: tuple[float, float] = (0.7, 1.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        _within("gamma", self.gamma, 0.01)

    def _transform(self) -> Any:
        from monai.transforms import RandAdjustContrast as Monai

        return Monai(prob=self.prob, gamma=self.gamma, retain_stats=True)


@dataclass(frozen=True, kw_only=True)
class RandBiasField(_OfIntensity):
    """Multiply by a smooth field, as an MR coil does; coefficients drawn from ``coeff_range``."""

    prob: float = 0.15
    coeff_range: tuple[float, float] = (0.0, 0.1)

    def _transform(self) -> Any:
        from monai.transforms import RandBiasField as Monai

        return Monai(prob=self.prob, coeff_range=self.coeff_range)


@dataclass(frozen=True, kw_only=True)
class RandLowResolution(Augmentation):
    """Sample down to a share of the voxels drawn from ``zoom_range`` and up again."""

    prob: float = 0.15
    zoom_range: tuple[float, float] = (0.5, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        _within("zoom_range", self.zoom_range, 0.05)

    def __call__(self, patch: Patch, chance: RandomState) -> Patch:
        """The patch with a coarser image; MONAI's transform does this in 3D alone."""
        from torch.nn.functional import interpolate

        image, target = patch
        if chance.uniform() >= self.prob:
            return patch
        zoom = chance.uniform(*self.zoom_range)
        space = tuple(image.shape[1:])
        coarse = [max(1, round(side * zoom)) for side in space]
        small = interpolate(image[None], size=coarse, mode="nearest-exact")
        smooth = "trilinear" if len(space) == 3 else "bilinear"
        return interpolate(small, size=space, mode=smooth)[0], target


AUGMENTATION: dict[str, type[Augmentation]] = {
    "rand_flip": RandFlip,
    "rand_affine": RandAffine,
    "rand_gaussian_noise": RandGaussianNoise,
    "rand_gaussian_smooth": RandGaussianSmooth,
    "rand_scale_intensity": RandScaleIntensity,
    "rand_shift_intensity": RandShiftIntensity,
    "rand_adjust_contrast": RandAdjustContrast,
    "rand_bias_field": RandBiasField,
    "rand_low_resolution": RandLowResolution,
}
