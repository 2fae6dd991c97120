"""The U-Net in the forms that people mean by the name, in 2D and 3D."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from medseg.models.network import Network

if TYPE_CHECKING:
    from torch import nn

PerLevel = tuple[int | tuple[int, ...], ...]
NormName = Literal["batch", "instance", "group", "none"]

_RESIDUAL_BLOCKS = (1, 3, 4)
"""nnU-Net's first levels with residual blocks; every further level has six."""


class Parts(NamedTuple):
    """A U-Net with every default filled in; strides and kernels by axis."""

    widths: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    blocks: tuple[int, ...]
    decoder_widths: tuple[int, ...]
    decoder_blocks: tuple[int, ...]
    norm: NormName
    early_doubling: bool
    conv_bias: bool


@dataclass(frozen=True)
class UNet(Network):
    """A contracting and an expanding path with skips between them, in four forms.

    ``form`` is ``classic``: without borders, mirrored at the image's (Ronneberger et al. 2015;
    in 3D Çiçek et al. 2016); ``padded``: what is mostly meant today, borders of zeros and a batch
    normalisation; ``plain`` or ``residual``: nnU-Net's, with strides in place of pooling, and in
    the encoder of the latter residual blocks. What is left out is as that form has it.

    ``widths`` has one entry a level. ``strides`` has one entry between two levels and ``kernels``
    one a level, each a number or one number an axis; 2 and 3 where left out. ``blocks`` counts
    the convolutions of each level (residual blocks in ``residual``), ``decoder_blocks`` those of
    each step up, fine to coarse; 2 where left out, but for ``residual``, which has 1, 3, 4, 6, 6
    and so on down, and 1 up. ``decoder_widths`` is what each step up gives, fine to coarse: the
    skip's width, or that of the next finer skip with ``bilinear``. ``upsampling`` is a transposed
    convolution, or bilinear (trilinear in 3D) without weights. ``early_doubling`` widens in the
    last convolution of a level, not in the first, and transposed convolutions then keep their
    width; the 3D ``classic`` does. ``norm`` left out is none in the 2D ``classic``, ``batch`` in
    the 3D one and in the 2D ``padded``, ``instance`` elsewhere. ``conv_bias`` gives the 3x3
    convolutions a bias; left out, only ``classic`` has one. ``dropout`` is the share left out: of
    the lowest level's numbers in ``classic`` and ``padded``, of every convolution's channels in
    nnU-Net's. ``deep_supervision`` counts heads below the top; ``classic`` has none.
    """

    name: ClassVar[str] = "unet"
    paper: ClassVar[str] = (
        "Ronneberger et al. 2015, arXiv:1505.04597; Çiçek et al. 2016, arXiv:1606.06650; "
        "Isensee et al. 2021, doi:10.1038/s41592-020-01008-z"
    )
    good_for: ClassVar[str] = "small data sets of any organ or modality; thin structures too"

    form: Literal["classic", "padded", "plain", "residual"] = "padded"
    widths: tuple[int, ...] | None = None
    strides: PerLevel | None = None
    kernels: PerLevel | None = None
    blocks: tuple[int, ...] | None = None
    decoder_widths: tuple[int, ...] | None = None
    decoder_blocks: tuple[int, ...] | None = None
    upsampling: Literal["transposed", "bilinear"] = "transposed"
    early_doubling: bool | None = None
    norm: NormName | None = None
    conv_bias: bool | None = None
    dropout: float = 0.0
    deep_supervision: int = 0

    def __post_init__(self) -> None:
        levels = len(self._widths)
        if levels < 2 or min(self._widths) < 1:
            raise ValueError(f"widths needs two levels or more of at least 1, not {self.widths}")
        self._check_entries("blocks", self.blocks, levels)
        self._check_entries("decoder_widths", self.decoder_widths, levels - 1)
        self._check_entries("decoder_blocks", self.decoder_blocks, levels - 1)
        self._by_axis("strides", self.strides or (2,) * (levels - 1), levels - 1)
        for kernel in self._by_axis("kernels", self.kernels or (3,) * levels, levels):
            if any(one % 2 == 0 for one in kernel):
                raise ValueError(f"kernels are odd, not {kernel}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout lies in [0, 1), not {self.dropout}")
        self._check_form(levels)

    def _check_entries(self, name: str, entries: tuple[int, ...] | None, count: int) -> None:
        if entries is not None and (len(entries) != count or min(entries, default=1) < 1):
            raise ValueError(f"{name} wants {count} entries of at least 1, not {entries}")

    def _check_form(self, levels: int) -> None:
        most = 0 if self.form == "classic" else levels - 2
        if not 0 <= self.deep_supervision <= most:
            raise ValueError(
                f"deep_supervision counts heads below the top, at most {most} for {levels} levels"
                f" of the form {self.form}, not {self.deep_supervision}"
            )
        if self.early_doubling and self.form == "residual":
            raise ValueError("early_doubling is for convolutions, not for the form residual")
        if self.parts.early_doubling and min(self._widths) < 2:
            raise ValueError(f"widths are at least 2 with early_doubling, not {self._widths}")

    def _by_axis(self, name: str, entries: PerLevel, count: int) -> tuple[tuple[int, ...], ...]:
        if len(entries) != count:
            raise ValueError(f"{name} wants {count} entries, not {len(entries)}")
        axes = tuple((e,) * self.spatial_dims if isinstance(e, int) else tuple(e) for e in entries)
        for one in axes:
            if len(one) != self.spatial_dims or min(one) < 1:
                raise ValueError(
                    f"{name} are a number above 0 or {self.spatial_dims} of them, not {one}"
                )
        return axes

    @property
    def _widths(self) -> tuple[int, ...]:
        if self.widths is not None:
            return self.widths
        volume, lean = self.spatial_dims == 3, self.upsampling == "bilinear"
        if self.form in ("plain", "residual"):
            return (32, 64, 128, 256, *((320, 320) if volume else (512, 512, 512)))
        if self.form == "classic" and volume:
            return (64, 128, 256, 512)
        first = 32 if volume else 64
        return tuple(first * 2**level for level in (0, 1, 2, 3, 3 if lean else 4))

    @property
    def _norm(self) -> NormName:
        if self.norm is not None:
            return self.norm
        if self.form == "classic":
            return "none" if self.spatial_dims == 2 else "batch"
        return "batch" if self.form == "padded" and self.spatial_dims == 2 else "instance"

    @property
    def _blocks(self) -> tuple[int, ...]:
        levels = len(self._widths)
        if self.form == "residual":
            return (*_RESIDUAL_BLOCKS, *(6,) * levels)[:levels]
        return (2,) * levels

    @property
    def parts(self) -> Parts:
        """The form's own parts, but for those that are given."""
        widths, classic = self._widths, self.form == "classic"
        skips = widths[:-1]
        early, bias = self.early_doubling, self.conv_bias
        lean = self.upsampling == "bilinear"
        ups = (1 if self.form == "residual" else 2,) * len(skips)
        return Parts(
            widths=widths,
            strides=self._by_axis("strides", self.strides or (2,) * len(skips), len(skips)),
            kernels=self._by_axis("kernels", self.kernels or (3,) * len(widths), len(widths)),
            blocks=self.blocks or self._blocks,
            decoder_widths=self.decoder_widths or ((skips[0], *skips[:-1]) if lean else skips),
            decoder_blocks=self.decoder_blocks or ups,
            norm=self._norm,
            early_doubling=classic and self.spatial_dims == 3 if early is None else early,
            conv_bias=classic if bias is None else bias,
        )

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it; weights are drawn as the form's paper draws them."""
        from medseg.models.nets.unet import UNetNet

        return UNetNet(self, in_channels, out_channels)
