"""DeepLab v3+: atrous spatial pyramid pooling and a decoder that looks at fine features again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from medseg.models.residual import WithRates

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class DeepLabV3Plus(WithRates):
    """DeepLab v3, whose coarse map is joined by a fine one before the labels are told.

    ``rates`` are how far apart the taps of the pyramid's convolutions are, each a number or one
    number an axis (left out: 6, 12, 18 at an ``output_stride`` of 16 and twice that at 8 in 2D;
    2, 4, 6 in 3D). With ``clamp`` a rate is never larger than the features along that axis allow.
    ``separable`` splits the convolutions of pyramid and decoder into one for each channel and one
    across, ``between`` with a normalisation and a ReLU between the two. ``project_kernel`` is that
    of the convolution which joins the pyramid, and ``context_conv`` adds one behind it.
    ``low_channels`` are what is kept of the fine features, ``decoder_convs`` the decoder's
    convolutions. ``multi_grid`` multiplies the rates of the last stage's three blocks.

    ``depth`` is the ResNet's and ``base`` its first channels, which all others follow (left out:
    50 and 64 in 2D, 18 and 32 in 3D). ``strides`` are those of its five halvings, a number or one
    number an axis; stages beyond ``output_stride`` keep their grid and are dilated instead.
    ``deep_stem`` begins it with three small convolutions, the first two of ``stem_base``
    channels. ``norm`` is the normalisation. ``head_channels`` are those of pyramid and decoder
    (left out: 256 in 2D at ``base`` 64), ``dropout`` the share of numbers left out behind the
    pyramid; ``auxiliary`` supervises the last stage but one with the weight 0.4 while training.
    """

    name: ClassVar[str] = "deeplab_v3plus"
    paper: ClassVar[str] = "Chen et al. 2018, arXiv:1802.02611"
    good_for: ClassVar[str] = "organs and tumours of very different sizes with borders that matter"

    output_stride: Literal[8, 16, 32] = 16
    auxiliary: bool = False
    separable: bool = True
    between: bool = True
    project_kernel: Literal[1, 3] = 1
    context_conv: bool = False
    low_channels: int = 48
    decoder_convs: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("low_channels", "decoder_convs"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, not {getattr(self, name)}")

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it with fresh weights."""
        from medseg.models.nets.deeplab_v3plus import deeplab_v3plus

        return deeplab_v3plus(self, in_channels, out_channels)
