"""A U-Net that starts small and grows while it trains, every step keeping what it has learnt.

"NEAT" means two other things in the literature: NeuroEvolution of Augmenting Topologies
(Stanley & Miikkulainen 2002), whose idea of starting small and growing is kept here while its
genetics are not, and Neural Attention Fields (Chitta et al. 2021), which is a decoder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from medseg.models.growth import Growing, Move, Operator
from medseg.models.sizing import LEAST_SIDE, sizes

if TYPE_CHECKING:
    from torch import nn

    from medseg.models.modules.gradmax import Directions
    from medseg.models.modules.morphisms import Morph

Side = Literal["encoder", "decoder"]
_WIDEST = {2: 512, 3: 320}
_MOST_BLOCKS = 4
_LARGEST_KERNEL = 5


@dataclass(frozen=True)
class NEAT(Growing):
    """U-Net that starts small and grows while it trains: wider, deeper, more levels.

    "NEAT" in the literature means two other things (neuroevolution, Stanley & Miikkulainen 2002;
    neural attention fields, Chitta et al. 2021); this network takes from the first that it
    starts small. The options are its genotype: those of a grown network rebuild it. ``widths``
    has one entry a stage of the encoder, ``decoder_widths`` one a stage of the decoder (None:
    as the encoder's). ``strides`` has one entry between two stages and ``kernels`` one a stage,
    each a number or one an axis; where they are left out, training chooses them, and how many
    of the ``widths`` are used, by nnU-Net's rules from the patch and its spacing, and otherwise
    they are 2 and 3. ``encoder_blocks`` and ``decoder_blocks`` count the residual blocks that
    were added to each stage (None: none). The lowest ``added`` levels were grown, and add to
    the stage above what they find. ``norm`` is of the kind that copying channels leaves as it
    is, which a group's is not. It grows where ``training.growth`` says so.
    """

    name: ClassVar[str] = "neat"
    paper: ClassVar[str] = (
        "Chen et al. 2016, arXiv:1511.05641 (Net2Net); Elsken et al. 2017, arXiv:1711.04528;"
        " Evci et al. 2022, arXiv:2201.05125 (GradMax)"
    )
    good_for: ClassVar[str] = "when the right size is not known: small data, small machines"

    widths: tuple[int, ...] = (8, 16, 32, 64)
    strides: tuple[int | tuple[int, ...], ...] | None = None
    kernels: tuple[int | tuple[int, ...], ...] | None = None
    decoder_widths: tuple[int, ...] | None = None
    encoder_blocks: tuple[int, ...] | None = None
    decoder_blocks: tuple[int, ...] | None = None
    added: int = 0
    norm: Literal["instance", "batch"] = "instance"

    def __post_init__(self) -> None:
        stages = len(self.widths)
        if stages < 2 or min(self.widths) < 1:
            raise ValueError(f"widths needs two stages or more of at least 1, not {self.widths}")
        for name, count, least in (
            ("decoder_widths", stages - 1, 1),
            ("encoder_blocks", stages, 0),
            ("decoder_blocks", stages - 1, 0),
        ):
            found = getattr(self, name)
            if found is not None and (len(found) != count or min(found) < least):
                raise ValueError(f"{name} has {count} entries of at least {least}, not {found}")
        for name, count in (("strides", stages - 1), ("kernels", stages)):
            self._check_axes(name, count)
        if not 0 <= self.added <= stages - 2:
            raise ValueError(f"added counts levels, at most {stages - 2}, not {self.added}")

    def _check_axes(self, name: str, count: int) -> None:
        entries = getattr(self, name)
        if entries is None:
            return
        if len(entries) != count:
            raise ValueError(f"{name} has {count} entries, not {len(entries)}")
        for entry in entries:
            one = self._by_axis(entry)
            odd = name == "strides" or all(number % 2 for number in one)
            if len(one) != self.spatial_dims or min(one) < 1 or not odd:
                what = "numbers" if name == "strides" else "odd numbers"
                raise ValueError(
                    f"{name} are {what} above 0, one or {self.spatial_dims} of them, not {entry}"
                )

    def _by_axis(self, entry: int | Sequence[int]) -> tuple[int, ...]:
        return (entry,) * self.spatial_dims if isinstance(entry, int) else tuple(entry)

    def explicit(self) -> Genotype:
        """Every option written out, with nothing left to a default."""
        stages = len(self.widths)
        return Genotype(
            widths=self.widths,
            strides=tuple(map(self._by_axis, self.strides or (2,) * (stages - 1))),
            kernels=tuple(map(self._by_axis, self.kernels or (3,) * stages)),
            decoder_widths=self.decoder_widths or self.widths[:-1],
            encoder_blocks=self.encoder_blocks or (0,) * stages,
            decoder_blocks=self.decoder_blocks or (0,) * (stages - 1),
            added=self.added,
        )

    def __call__(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build it; weights are drawn as torch draws them."""
        from medseg.models.nets.neat import GrowingUNet

        return GrowingUNet(self, in_channels, out_channels)

    def genotype_json(self) -> str:
        """The whole structure as JSON, nothing left to defaults."""
        return json.dumps(asdict(replace(self, **asdict(self.explicit()))))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The network that ``genotype_json`` wrote down. Raises ValueError."""
        found = json.loads(text)
        known = {one.name for one in fields(cls)}
        if not isinstance(found, dict) or not found.keys() <= known:
            raise ValueError(f"a genotype is an object of {', '.join(sorted(known))}")
        return cls(**{name: _frozen(value) for name, value in found.items()})

    def sized(self, patch: Sequence[int], spacing: Sequence[float]) -> Self:
        """The seed for such patches; what is written out already stays as it is."""
        if self.strides is not None or self.kernels is not None:
            return self
        found = sizes(patch, spacing, len(self.widths))
        # A patch that nothing can be halved of still has two stages.
        strides = found.strides or ((1,) * self.spatial_dims,)
        kernels = found.kernels if found.strides else found.kernels * 2
        stages = len(kernels)
        return replace(
            self,
            widths=self.widths[:stages],
            strides=strides,
            kernels=kernels,
            decoder_widths=self.decoder_widths and self.decoder_widths[: stages - 1],
            encoder_blocks=self.encoder_blocks and self.encoder_blocks[:stages],
            decoder_blocks=self.decoder_blocks and self.decoder_blocks[: stages - 1],
            added=min(self.added, stages - 2),
        )

    def moves(self, operator: Operator, patch: Sequence[int], factor: float) -> tuple[Move, ...]:
        """Everywhere that ``operator`` can be applied."""
        if operator == "level":
            return self._levels(patch)
        if operator == "kernel":
            return self._kernels()
        sides: tuple[Side, ...] = ("encoder", "decoder")
        places = [(side, stage) for side in sides for stage in range(len(self._widths(side)))]
        if operator == "deepen":
            found = [self._deeper(*place) for place in places]
        else:
            found = [self._wider(operator, *place, factor) for place in places]
        return tuple(move for move in found if move is not None)

    def morph(
        self, module: nn.Module, move: Move, seed: int, directions: Directions | None = None
    ) -> Morph:
        """How the weights of ``module`` become those of ``move.network``, its function kept."""
        from medseg.models.nets.neat_growth import morphed

        return morphed(self, module, move, seed, directions)

    def _widths(self, side: Side) -> tuple[int, ...]:
        said = self.explicit()
        return said.widths if side == "encoder" else said.decoder_widths

    def _changed(self, **changes: Any) -> Self:
        return replace(self, **{**asdict(self.explicit()), **changes})

    def _wider(self, operator: Operator, side: Side, stage: int, factor: float) -> Move | None:
        widths = self._widths(side)
        now = widths[stage]
        wanted = min(max(now + 1, round(now * factor)), _WIDEST[self.spatial_dims])
        if wanted <= now:
            return None
        name = "widths" if side == "encoder" else "decoder_widths"
        child = self._changed(**{name: _with(widths, stage, wanted)})
        place = f"{side}.{stage}"
        pair = (f"{place}.first.conv", f"{place}.second.conv")
        return Move(operator, place, child, pair, wanted - now)

    def _deeper(self, side: Side, stage: int) -> Move | None:
        said = self.explicit()
        blocks = said.encoder_blocks if side == "encoder" else said.decoder_blocks
        if blocks[stage] >= _MOST_BLOCKS:
            return None
        child = self._changed(**{f"{side}_blocks": _with(blocks, stage, blocks[stage] + 1)})
        return Move("deepen", f"{side}.{stage}", child)

    def _levels(self, patch: Sequence[int]) -> tuple[Move, ...]:
        said = self.explicit()
        strides = [prod(axis) for axis in zip(*said.strides, strict=True)]
        sides = [-(-side // stride) for side, stride in zip(patch, strides, strict=True)]
        stride = tuple(2 if side >= 2 * LEAST_SIDE else 1 for side in sides)
        if max(stride) == 1:
            return ()
        last = said.widths[-1]
        child = self._changed(
            widths=(*said.widths, min(2 * last, _WIDEST[self.spatial_dims])),
            strides=(*said.strides, stride),
            kernels=(*said.kernels, (3,) * self.spatial_dims),
            decoder_widths=(*said.decoder_widths, last),
            encoder_blocks=(*said.encoder_blocks, 0),
            decoder_blocks=(*said.decoder_blocks, 0),
            added=said.added + 1,
        )
        return (Move("level", f"below {len(said.widths) - 1}", child),)

    def _kernels(self) -> tuple[Move, ...]:
        kernels, found = self.explicit().kernels, []
        for stage, kernel in enumerate(kernels):
            # Axes that saw only themselves come first.
            least = min(kernel)
            larger = tuple(one + 2 if one == least else one for one in kernel)
            if max(larger) <= _LARGEST_KERNEL and larger != kernel:
                child = self._changed(kernels=_with(kernels, stage, larger))
                found.append(Move("kernel", f"stage {stage}", child))
        return tuple(found)


@dataclass(frozen=True)
class Genotype:
    """The structure of a NEAT, stage by stage, the finest first."""

    widths: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    decoder_widths: tuple[int, ...]
    encoder_blocks: tuple[int, ...]
    decoder_blocks: tuple[int, ...]
    added: int


def _with(entries: tuple[Any, ...], place: int, value: Any) -> tuple[Any, ...]:
    return (*entries[:place], value, *entries[place + 1 :])


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
