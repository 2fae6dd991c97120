"""MONAI's DynUNet, the U-Net that nnU-Net configures, behind a typed name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from medseg.models.fitting import covered, cropped, padded
from medseg.models.heads import halving
from medseg.models.network import Network

if TYPE_CHECKING:
    from torch import nn

_NORMS: dict[str, tuple[str, dict[str, Any]]] = {
    "instance": ("INSTANCE", {"affine": True}),
    "batch": ("BATCH", {}),
}


@dataclass(frozen=True)
class DynUNet(Network):
    """U-Net with strided convolutions, one width a level; strides may differ by axis.

    ``strides`` has one entry between two levels, each a number or one number an axis; 2 where
    it is left out. ``kernels`` has one entry a level; 3 where it is left out.
    """

    name: ClassVar[str] = "dynunet"
    paper: ClassVar[str] = "Isensee et al. 2021, doi:10.1038/s41592-020-01008-z"
    good_for: ClassVar[str] = "the default: organs and tumours, CT and MRI, small data sets"

    widths: tuple[int, ...] = (32, 64, 128, 256, 320)
    strides: tuple[int | tuple[int, ...], ...] | None = None
    kernels: tuple[int | tuple[int, ...], ...] | None = None
    norm: Literal["instance", "batch"] = "instance"
    residual: bool = False
    dropout: float = 0.0
    deep_supervision: int = 0

    def __post_init__(self) -> None:
        levels = len(self.widths)
        if levels < 3 or min(self.widths) < 1:
            raise ValueError(f"widths needs three levels or more of at least 1, not {self.widths}")
        if self.strides is not None and len(self.strides) != levels - 1:
            raise ValueError(
                f"strides has one entry between two levels: {levels - 1}, not {len(self.strides)}"
            )
        if self.kernels is not None and len(self.kernels) != levels:
            raise ValueError(f"kernels has one entry a level: {levels}, not {len(self.kernels)}")
        self._by_axis(self.strides or ())
        self._by_axis(self.kernels or ())
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout lies in [0, 1), not {self.dropout}")
        if not 0 <= self.deep_supervision <= levels - 2:
            raise ValueError(
                f"deep_supervision counts heads below the top, at most {levels - 2}"
                f" for {levels} levels, not {self.deep_supervision}"
            )

    def _by_axis(self, entries: Sequence[int | tuple[int, ...]]) -> list[tuple[int, ...]]:
        axes = [(e,) * self.spatial_dims if isinstance(e, int) else tuple(e) for e in entries]
        for one in axes:
            if len(one) != self.spatial_dims or min(one) < 1:
                raise ValueError(
                    f"strides and kernels are a number above 0 or {self.spatial_dims} of them,"
                    f" not {one}"
                )
        return axes

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it; weights are drawn as nnU-Net draws them."""
        from monai.networks.nets import DynUNet as MonaiDynUNet

        levels = len(self.widths)
        strides = self._by_axis((1, *(self.strides or (2,) * (levels - 1))))
        multiples = [prod(axis) for axis in zip(*strides, strict=True)]

        class Fitted(MonaiDynUNet):  # type: ignore[misc]
            """Takes any size; leaves coarse logits at their own size, as far as the image went."""

            def __init__(self, **options: Any) -> None:
                super().__init__(**options)
                # MONAI registers every block a second time in here; each weight is saved once.
                del self.skip_layers

            def forward(self, image: Any) -> Any:
                levels = [self.input_block(padded(image, multiples))]
                for down in (*self.downsamples, self.bottleneck):
                    levels.append(down(levels[-1]))
                decoded = [levels.pop()]
                for up in self.upsamples:
                    decoded.append(up(decoded[-1], levels.pop()))
                logits = cropped(self.output_block(decoded[-1]), image.shape[2:])
                if not (self.training and self.deep_supervision):
                    return logits
                full = decoded[-1].shape[2:]
                coarse = zip(self.deep_supervision_heads, decoded[-2::-1], strict=False)
                heads = [logits, *(cropped(head(f), covered(image, full, f)) for head, f in coarse)]
                return halving(heads)

        return Fitted(
            spatial_dims=self.spatial_dims,
            in_channels=in_channels,
            out_channels=out_channels,
            kernel_size=self._by_axis(self.kernels or (3,) * levels),
            strides=strides,
            upsample_kernel_size=strides[1:],
            filters=self.widths,
            dropout=self.dropout or None,
            norm_name=_NORMS[self.norm],
            deep_supervision=self.deep_supervision > 0,
            deep_supr_num=max(self.deep_supervision, 1),
            res_block=self.residual,
        )
