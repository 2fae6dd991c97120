"""MONAI's SwinUNETR behind a typed name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from medseg.models.network import Network

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class SwinUNETR(Network):
    """Attention within shifted windows on four grids, joined by a U-Net's decoder.

    ``width`` is the channels of the finest level, a multiple of 12; they double from stage to
    stage. ``depths`` and ``attention_heads`` have one entry for each of the four stages.
    ``window`` is a window's side in tokens, clamped to the grid. ``second_version`` adds a
    convolution before each stage (SwinUNETR-V2). ``dropout`` and ``drop_path`` are shares of
    tokens' numbers and of branches left out; ``checkpointing`` saves memory for time.
    """

    name: ClassVar[str] = "swin_unetr"
    paper: ClassVar[str] = "Hatamizadeh et al. 2022, doi:10.1007/978-3-031-08999-2_22"
    good_for: ClassVar[str] = "tumours and organs in 3D with much data and a large GPU"

    width: int = 48
    depths: tuple[int, int, int, int] = (2, 2, 2, 2)
    attention_heads: tuple[int, int, int, int] = (3, 6, 12, 24)
    window: int = 7
    second_version: bool = False
    dropout: float = 0.0
    drop_path: float = 0.0
    checkpointing: bool = False

    def __post_init__(self) -> None:
        if self.width < 12 or self.width % 12:
            raise ValueError(f"width is a multiple of 12, not {self.width}")
        if min(self.depths) < 1:
            raise ValueError(f"depths has entries above 0, not {self.depths}")
        widths = [self.width * 2**stage for stage in range(4)]
        for width, heads in zip(widths, self.attention_heads, strict=True):
            if heads < 1 or width % heads:
                raise ValueError(
                    f"attention_heads share a stage's width evenly, {widths},"
                    f" not {self.attention_heads}"
                )
        if self.window < 1:
            raise ValueError(f"window is at least 1, not {self.window}")
        for name in ("dropout", "drop_path"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} lies in [0, 1), not {getattr(self, name)}")

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it with MONAI's first weights."""
        from monai.networks.nets import SwinUNETR as MonaiSwinUNETR

        from medseg.models.nets.monai import Fitted, ReadableRanges

        with ReadableRanges():
            network = MonaiSwinUNETR(
                spatial_dims=self.spatial_dims,
                in_channels=in_channels,
                out_channels=out_channels,
                feature_size=self.width,
                depths=self.depths,
                num_heads=self.attention_heads,
                window_size=self.window,
                use_v2=self.second_version,
                drop_rate=self.dropout,
                dropout_path_rate=self.drop_path,
                use_checkpoint=self.checkpointing,
            )
        return Fitted(network, (32,) * self.spatial_dims)
