"""Random changes of intensities: noise, blur, brightness, contrast, shading, resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medseg.training.augmentation import OfIntensity, each, within

if TYPE_CHECKING:
    from numpy.random import RandomState
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class RandGaussianNoise(OfIntensity):
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
class RandGaussianSmooth(OfIntensity):
    """Blur with a width drawn from ``sigma_voxels``, each axis its own."""

    prob: float = 0.15
    sigma_voxels: tuple[float, float] = (0.5, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        within("sigma_voxels", self.sigma_voxels, 0.0)

    def _drawn(self, chance: RandomState, shape: Sequence[int]) -> Any:
        if chance.rand() >= self.prob:
            return None
        return [chance.uniform(*self.sigma_voxels) for _ in range(3)][: len(shape) - 1]

    def _look(self, images: Tensor, drawn: Sequence[Any]) -> Tensor:
        from medseg.training.warping import blurred

        return blurred(images, drawn)


@dataclass(frozen=True, kw_only=True)
class RandScaleIntensity(OfIntensity):
    """Multiply by 1 plus a number drawn from -``factors`` to ``factors``."""

    prob: float = 0.15
    factors: float = 0.25

    def _drawn(self, chance: RandomState, shape: Sequence[int]) -> Any:
        del shape
        if chance.rand() >= self.prob:
            return None
        return 1 + chance.uniform(-abs(self.factors), abs(self.factors))

    def _look(self, images: Tensor, drawn: Sequence[Any]) -> Tensor:
        return images * each(drawn, images)


@dataclass(frozen=True, kw_only=True)
class RandShiftIntensity(OfIntensity):
    """Add a number drawn from -``offsets`` to ``offsets``."""

    prob: float = 0.15
    offsets: float = 0.1

    def _drawn(self, chance: RandomState, shape: Sequence[int]) -> Any:
        del shape
        if chance.rand() >= self.prob:
            return None
        return chance.uniform(-abs(self.offsets), abs(self.offsets))

    def _look(self, images: Tensor, drawn: Sequence[Any]) -> Tensor:
        return images + each(drawn, images)


@dataclass(frozen=True, kw_only=True)
class RandAdjustContrast(OfIntensity):
    """Raise intensities, scaled to [0, 1] and back, to a power drawn from ``gamma``.

    Mean and standard deviation of the patch stay as they were.
    """

    prob: float = 0.15
    gamma: tuple[float, float] = (0.7, 1.5)

    def __post_init__(self) -> None:
        super().__post_init__()
        within("gamma", self.gamma, 0.01)

    def _drawn(self, chance: RandomState, shape: Sequence[int]) -> Any:
        del shape
        return None if chance.rand() >= self.prob else chance.uniform(*self.gamma)

    def _look(self, images: Tensor, drawn: Sequence[Any]) -> Tensor:
        over = tuple(range(1, images.ndim))
        mean, deviation = images.mean(over, keepdim=True), images.std(over, keepdim=True)
        low = images.amin(over, keepdim=True)
        reach = images.amax(over, keepdim=True) - low
        new = ((images - low) / (reach + 1e-7)) ** each(drawn, images) * reach + low
        new = new - new.mean(over, keepdim=True)
        return deviation * (new / (new.std(over, keepdim=True) + 1e-8)) + mean


@dataclass(frozen=True, kw_only=True)
class RandBiasField(OfIntensity):
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
class RandLowResolution(OfIntensity):
    """Sample down to a share of the voxels drawn from ``zoom_range`` and up again."""

    prob: float = 0.15
    zoom_range: tuple[float, float] = (0.5, 1.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        within("zoom_range", self.zoom_range, 0.05)

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
