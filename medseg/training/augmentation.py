"""Random changes of training patches, whole batches at a time, in torch.

The names and the laws are those of MONAI's transforms; so are the draws, in their order, which a
test holds them to. Chance comes from the seed and the number of the batch alone, each patch with
a source of its own, so that a resumed run sees what an undisturbed one would.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medseg.image import Labels
from medseg.step import Step

if TYPE_CHECKING:
    from numpy.random import RandomState
    from torch import Tensor

Patch = tuple["Tensor", "Tensor"]
"""``image (C, *space)`` float32 and ``target (1, *space)`` of mask values."""
Patches = tuple["Tensor", "Tensor"]
"""``images (B, C, *space)`` float32 and ``targets (B, 1, *space)`` of mask values."""


def within(name: str, pair: tuple[float, float], lowest: float) -> None:
    """ValueError where a pair of numbers falls, or begins below ``lowest``."""
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

    def across(self, normal: int) -> Augmentation:
        """The same for slices across axis ``normal`` of a volume, which have its other two axes."""
        del normal
        return self

    def on_batch(self, images: Tensor, targets: Tensor, chances: Sequence[RandomState]) -> Patches:
        """Every patch changed by its own chance; one after the other unless told better."""
        import torch

        patches = zip(images, targets, chances, strict=True)
        done = [self((image, target), chance) for image, target, chance in patches]
        return torch.stack([image for image, _ in done]), torch.stack([one for _, one in done])


@dataclass(frozen=True, kw_only=True)
class Together(Augmentation):
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
        drawn = self.drawn(chances, images.shape[1:])
        return self.on_drawn(images, targets, drawn, images.shape[2:])

    def drawn(self, chances: Sequence[RandomState], shape: Sequence[int]) -> list[Any]:
        """What shall become of each patch (C, *space), None where it stays as it is."""
        return [self._drawn(chance, shape) for chance in chances]

    def on_drawn(
        self, images: Tensor, targets: Tensor, drawn: Sequence[Any], sides: Sequence[int]
    ) -> Patches:
        """The middle of every patch, of ``sides``, changed by what was drawn for it."""
        kept = middle(images, sides), middle(targets, sides)
        chosen = [place for place, one in enumerate(drawn) if one is not None]
        if not chosen:
            return kept
        some = [drawn[place] for place in chosen]
        news = self._into(images[chosen], targets[chosen], some, sides)
        if len(chosen) == len(drawn):
            return news
        kept = kept[0].clone(), kept[1].clone()
        for before, after in zip(kept, news, strict=True):
            before[chosen] = after
        return kept

    def _into(
        self, images: Tensor, targets: Tensor, drawn: Sequence[Any], sides: Sequence[int]
    ) -> Patches:
        """What is ``_changed`` of the middle; patches are no larger but for what reads beyond."""
        del sides
        return self._changed(images, targets, drawn)


@dataclass(frozen=True, kw_only=True)
class OfIntensity(Together):
    """Changes images and leaves targets."""

    @abstractmethod
    def _look(self, images: Tensor, drawn: Sequence[Any]) -> Tensor:
        """The images with other intensities."""

    def _changed(self, images: Tensor, targets: Tensor, drawn: Sequence[Any]) -> Patches:
        return self._look(images, drawn), targets


def middle(patches: Tensor, sides: Sequence[int]) -> Tensor:
    """The middle of patches (B, C, *space), of ``sides``."""
    for axis, side in enumerate(sides, 2):
        spare = patches.shape[axis] - side
        if spare:
            patches = patches.narrow(axis, spare // 2, side)
    return patches


def each(numbers: Sequence[float], like: Tensor) -> Tensor:
    """A number a patch, to calculate with ``like (B, C, *space)``."""
    return like.new_tensor(list(numbers)).reshape(-1, *(1,) * (like.ndim - 1))
