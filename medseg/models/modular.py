"""A network put together from parts: encoder, context, fusion, head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from medseg.models.network import Network
from medseg.models.options import Axes, Entries, check_rates, strides_by_axis

if TYPE_CHECKING:
    from torch import nn

# Which context an option belongs to.
_OPTION_OF = {
    "rates": ("aspp", "dense_aspp"),
    "bins": ("ppm",),
    "mask": ("psa",),
    "kernel": ("gcn",),
}
_STEPS: dict[str, tuple[int, ...]] = {"unet": (2, 2, 2, 2), "mit_b0": (4, 2, 2, 2)}
_BASES = {"unet": (32, 16), "mit_b0": (32, 32)}


@dataclass(frozen=True)
class Modular(Network):
    """Any encoder with any context, fusion and head of the other networks.

    ``encoder`` makes features of several grids: ``resnet18``, ``resnet50``, ``unet`` (five
    levels, the finest on the image's grid), ``mit_b0`` (SegFormer's) or ``stdc1``. ``context`` is
    what the coarsest of them go through: ``aspp`` (DeepLab v3), ``ppm`` (PSPNet), ``dense_aspp``,
    ``psa`` (PSANet), ``gcn`` or ``none``. ``fusion`` brings that onto the finer grids: ``concat``
    (U-Net), ``add`` (FPN), ``fam`` (SFNet's flow alignment), ``cca`` (UCTransNet's gated skips),
    all of them level by level, or ``bga`` (BiSeNetV2) at once onto the grid two levels finer.
    ``head`` tells the labels: ``plain`` by one convolution, ``point_rend`` the least sure voxels
    anew, ``attention_field`` each voxel by what it asks of the context.

    ``width`` are the channels from the context on, ``base`` the encoder's first (left out: 64 for
    ``resnet`` and ``stdc1``, 32 for the others; in 3D half of it, but for ``mit_b0``).
    ``strides`` are the encoder's, a number or one number an axis: five halvings (``resnet``,
    ``stdc1``), four between the levels (``unet``), or four (``mit_b0``, by default 4, 2, 2, 2).
    ``rates`` are those of ``aspp`` and ``dense_aspp`` and never larger than the features allow,
    ``bins`` of ``ppm``, ``mask`` the side that ``psa`` sees and ``kernel`` that of ``gcn``; each
    of them only with its context. ``norm`` is the normalisation, ``dropout`` the share of channels
    left out before the labels.
    """

    name: ClassVar[str] = "modular"
    paper: ClassVar[str] = "this project; the parts name their papers"
    good_for: ClassVar[str] = "finding out which part helps on your scans, one at a time"

    encoder: Literal["resnet18", "resnet50", "unet", "mit_b0", "stdc1"] = "resnet18"
    context: Literal["none", "aspp", "ppm", "dense_aspp", "psa", "gcn"] = "aspp"
    fusion: Literal["concat", "add", "fam", "bga", "cca"] = "concat"
    head: Literal["plain", "point_rend", "attention_field"] = "plain"
    width: int = 64
    base: int | None = None
    strides: Entries | None = None
    rates: Entries | None = None
    bins: Entries | None = None
    mask: int | None = None
    kernel: int | None = None
    norm: Literal["batch", "instance", "group"] = "batch"
    dropout: float = 0.1

    def __post_init__(self) -> None:
        if self.width < 2 or self.width % 2:
            raise ValueError(f"width is an even number above 0, not {self.width}")
        if self.first < 1 or (self.encoder == "stdc1" and self.first % 2):
            even = "an even number " if self.encoder == "stdc1" else ""
            raise ValueError(f"base is {even}above 0, not {self.first}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout lies in [0, 1), not {self.dropout}")
        for option, contexts in _OPTION_OF.items():
            if getattr(self, option) is not None and self.context not in contexts:
                raise ValueError(
                    f"{option} belongs to the context {' or '.join(contexts)};"
                    f" the context {self.context} has none"
                )
        for name in ("rates", "bins"):
            if getattr(self, name) is not None:
                check_rates(getattr(self, name), self.spatial_dims, name)
        for name in ("mask", "kernel"):
            found = getattr(self, name)
            if found is not None and (found < 1 or found % 2 == 0):
                raise ValueError(f"{name} is an odd number, not {found}")
        before = self.steps[: self._before]
        if self.head == "point_rend" and all(max(step) == 1 for step in before):
            raise ValueError(
                "head point_rend makes logits finer that are coarser than the image; with the"
                f" encoder {self.encoder} and the fusion {self.fusion} they are on its own grid"
            )

    @property
    def _before(self) -> int:
        """How many of the steps lie before the finest fused features."""
        if self.fusion == "bga":
            return len(self.steps) - 2
        return 0 if self.encoder == "unet" else 1

    @property
    def first(self) -> int:
        """The encoder's first channels."""
        plane, volume = _BASES.get(self.encoder, (64, 32))
        return (plane if self.spatial_dims == 2 else volume) if self.base is None else self.base

    @property
    def steps(self) -> tuple[Axes, ...]:
        """The encoder's strides along each axis."""
        usual = _STEPS.get(self.encoder, (2,) * 5)
        given = usual if self.strides is None else self.strides
        return strides_by_axis(given, self.spatial_dims, len(usual))

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it with fresh weights."""
        from medseg.models.nets.modular import modular

        return modular(self, in_channels, out_channels)
