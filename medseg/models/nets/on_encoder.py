"""What many networks are: an encoder, a head on its features, and a second one for training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from torch import Tensor, nn

from medseg.models.fitting import cropped, padded
from medseg.models.heads import Head, Heads
from medseg.models.layers import resized


class Encoder(Protocol):
    """A module that gives features of several grids, fine to coarse."""

    channels: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]

    def __call__(self, image: Tensor) -> list[Tensor]:
        """Features of ``image (B, C, *space)``."""


class Last(nn.Module):
    """A head that sees one of the features alone."""

    def __init__(self, *parts: nn.Module, place: int = -1) -> None:
        super().__init__()
        self.parts, self.place = nn.Sequential(*parts), place

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """The last feature, or that at ``place``, to logits on its grid."""
        logits: Tensor = self.parts(features[self.place])
        return logits


class OnEncoder(nn.Module):
    """(B, C, *space) to logits (B, K, *space) of the same space.

    Heads take all features and give logits on any coarser grid. ``auxiliary`` is a head that only
    training has, of that weight.
    """

    encoder: Encoder

    def __init__(
        self,
        encoder: Encoder,
        head: nn.Module,
        auxiliary: nn.Module | None = None,
        weight: float = 0.4,
    ) -> None:
        super().__init__()
        self.encoder, self.head, self.auxiliary = encoder, head, auxiliary
        self.weight = weight

    def forward(self, image: Tensor) -> Tensor | Heads:
        """``image (B, C, *space)`` of any size to logits, or while training to heads."""
        full = padded(image, self.encoder.strides[-1])
        features = self.encoder(full)
        logits = fitted(self.head(features), full, image)
        if not self.training or self.auxiliary is None:
            return logits
        return [Head(logits), Head(fitted(self.auxiliary(features), full, image), self.weight)]


def fitted(logits: Tensor, full: Tensor, image: Tensor) -> Tensor:
    """Logits of the padded image ``full`` at any size, on the image's own grid."""
    return cropped(resized(logits, full.shape[2:]), image.shape[2:])
