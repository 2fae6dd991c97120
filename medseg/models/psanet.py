"""PSANet: every place of the features weighs every other by where it lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from medseg.models.residual import WithHeads

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class PSANet(WithHeads):
    """A dilated ResNet, whose places collect from and distribute to all others.

    Each place tells one number for every offset within ``mask`` (its side, a number or one number
    an axis, best odd; left out: 59 in 2D, 11 in 3D), on a grid ``shrink`` times coarser than the
    features. Memory grows with the square of that grid's voxels, and in 3D the mask's channels
    with its volume: keep both small. ``attention_channels`` are those within (left out: a quarter
    of the features').

    ``depth`` is the ResNet's and ``base`` its first channels, which all others follow (left out:
    50 and 64 in 2D, 18 and 32 in 3D). ``strides`` are those of its five halvings, a number or one
    number an axis; stages beyond ``output_stride`` keep their grid and are dilated instead.
    ``deep_stem`` begins it with three small convolutions, the first two of ``stem_base``
    channels. ``norm`` is the normalisation. ``head_channels`` are those of the head (left out: a
    quarter of the features'), ``dropout`` the share of channels left out before the logits;
    ``auxiliary`` supervises the last stage but one with the weight 0.4 while training.
    """

    name: ClassVar[str] = "psanet"
    paper: ClassVar[str] = "Zhao et al. 2018, ECCV, doi:10.1007/978-3-030-01240-3_17"
    good_for: ClassVar[str] = "labels known by how they lie to each other; small windows in 3D"

    deep_stem: bool = True
    mask: int | tuple[int, ...] | None = None
    shrink: int = 2
    attention_channels: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        sides = self.offsets
        if len(sides) != self.spatial_dims or min(sides) < 1:
            raise ValueError(
                f"mask is a number above 0 or {self.spatial_dims} of them, not {sides}"
            )
        if self.shrink < 1:
            raise ValueError(f"shrink is at least 1, not {self.shrink}")
        if self.attention_channels is not None and self.attention_channels < 1:
            raise ValueError(f"attention_channels is at least 1, not {self.attention_channels}")

    @property
    def offsets(self) -> tuple[int, ...]:
        """The mask's side along each axis."""
        mask = self.mask or (59 if self.spatial_dims == 2 else 11)
        return (mask,) * self.spatial_dims if isinstance(mask, int) else mask

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it with fresh weights."""
        from medseg.models.nets.psanet import psanet

        return psanet(self, in_channels, out_channels)
