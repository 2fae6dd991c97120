"""Networks of MONAI by their own class names and arguments, as its bundles name them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar

from medseg.models.network import Network

if TYPE_CHECKING:
    from torch import nn


class Arguments(dict[str, Any]):
    """Arguments that do not change, so that they can stand in a key."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(repr(sorted(self.items())))


def _of_strides(arguments: Mapping[str, Any], dims: int) -> list[int]:
    strides = [(s,) * dims if isinstance(s, int) else tuple(s) for s in arguments["strides"]]
    return [prod(one[axis] for one in strides) for axis in range(dims)]


def _of_levels(arguments: Mapping[str, Any], dims: int) -> list[int]:
    return [2 ** (len(arguments.get("blocks_down", (1, 2, 2, 4))) - 1)] * dims


def _of_image(arguments: Mapping[str, Any], dims: int) -> list[int]:
    size = arguments["img_size"]
    return [size] * dims if isinstance(size, int) else list(size)


Multiples = Callable[[Mapping[str, Any], int], Sequence[int]]
NETWORKS: Mapping[str, Multiples] = {
    "AttentionUnet": _of_strides,
    "BasicUNet": lambda _, dims: (16,) * dims,
    "DynUNet": _of_strides,
    "SegResNet": _of_levels,
    "SwinUNETR": lambda _, dims: (32,) * dims,
    "UNETR": _of_image,
    "UNet": _of_strides,
    "VNet": lambda _, dims: (16,) * dims,
}
"""The classes that may be named, and what the sides of their images are multiples of."""


@dataclass(frozen=True)
class Monai(Network):
    """A network of MONAI by its class, ``network``; all other options are its own arguments.

    The classes are AttentionUnet, BasicUNet, DynUNet, SegResNet, SwinUNETR, UNETR, UNet and VNet.
    ``spatial_dims`` and the channels are given by the pipeline.
    """

    name: ClassVar[str] = "monai"
    paper: ClassVar[str] = "Cardoso et al. 2022, arXiv:2211.02701"
    good_for: ClassVar[str] = "weights of MONAI bundles, and networks that one knows from there"
    extra_options: ClassVar[str | None] = "arguments"

    network: str = "BasicUNet"
    arguments: Mapping[str, Any] = field(default_factory=Arguments)

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise ValueError(f"network is one of {', '.join(NETWORKS)}, not {self.network!r}")
        object.__setattr__(self, "arguments", Arguments(self.arguments))
        for given in ("spatial_dims", "in_channels", "out_channels"):
            if given in self.arguments:
                raise ValueError(f"{given} is given by the pipeline, not in the arguments")
        try:
            self._multiples()
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise ValueError(f"{self.network} does not take this: {error!r}") from error

    def _multiples(self) -> tuple[int, ...]:
        found = tuple(NETWORKS[self.network](self.arguments, self.spatial_dims))
        if not all(isinstance(one, int) and one > 0 for one in found):
            raise ValueError(f"sides are multiples of numbers above 0, not of {found}")
        return found

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it with MONAI's first weights. Raises ModelError E_CONFIG for bad arguments."""
        from monai.networks import nets

        from medseg.errors import ModelError
        from medseg.models.nets.monai import Fitted, ReadableRanges

        sizes = {"in_channels": in_channels, "out_channels": out_channels}
        try:
            with ReadableRanges():
                made = getattr(nets, self.network)(
                    spatial_dims=self.spatial_dims, **sizes, **self.arguments
                )
        # Whatever a constructor thinks of an argument.
        except Exception as error:
            raise ModelError("E_CONFIG", f"{self.network} does not take this: {error}") from error
        return Fitted(made, self._multiples())
