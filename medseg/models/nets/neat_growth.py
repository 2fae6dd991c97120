"""Which tensors of a growing U-Net belong to which channels, and what each move does to them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from medseg.models.modules.gradmax import Directions
from medseg.models.modules.morphisms import Morph
from medseg.models.modules.surgery import Space, Surgery, Takes, grown_kernel

if TYPE_CHECKING:
    from medseg.models.growth import Move
    from medseg.models.neat import NEAT, Genotype

NOISE = 0.01


def spaces(said: Genotype, place: str, up_width: int) -> dict[str, Space]:
    """The channels of the stage ``place`` ("encoder.2"): by what they are to it.

    ``up_width`` is how many channels lie before the skipped ones where the decoder of this
    stage joins them.
    """
    side, _, number = place.partition(".")
    level, last = int(number), len(said.widths) - 1
    blocks = (said.encoder_blocks if side == "encoder" else said.decoder_blocks)[level]
    inner = [f"{place}.blocks.{n}" for n in range(blocks)]
    found = {f"block {n}": _between(block) for n, block in enumerate(inner)}
    found["middle"] = _between(place)
    if side == "decoder":
        found["up"] = Space(raises=(f"ups.{level}",), takes=(Takes(f"{place}.first.conv"),))
    added = last - said.added <= level < last
    makes, takes = [place, *inner], [Takes(f"{block}.first.conv") for block in inner]
    if side == "encoder" and level < last:
        takes.append(Takes(f"encoder.{level + 1}.first.conv"))
        takes.append(Takes(f"decoder.{level}.first.conv", up_width))
    if side == "decoder" and added:
        takes.append(Takes(f"projections.{level}"))
    elif side == "decoder" or added or level == last:
        # The features that the level above takes up.
        above = Takes(f"ups.{level - 1}", transposed=True)
        takes.append(above if level else Takes("head"))
    makes_convs = [f"{one}.second.conv" for one in makes]
    if side == "encoder" and added:
        makes_convs.append(f"projections.{level}")
    norms = tuple(f"{one}.second.norm" for one in makes)
    found["out"] = Space(tuple(makes_convs), norms=norms, takes=tuple(takes))
    return found


def _between(place: str) -> Space:
    return Space(
        (f"{place}.first.conv",),
        norms=(f"{place}.first.norm",),
        takes=(Takes(f"{place}.second.conv"),),
    )


def morphed(
    options: NEAT,
    module: nn.Module,
    move: Move,
    seed: int,
    directions: Directions | None = None,
) -> Morph:
    """How the weights of ``module``, of ``options``, become those of ``move.network``."""
    surgery = Surgery(module.state_dict(), seed)
    if move.operator in ("widen", "features"):
        _widen(surgery, options, move, directions)
        return surgery.morph()
    if move.operator == "kernel":
        stage = int(move.where.split()[1])
        ends = (f"encoder.{stage}.", f"decoder.{stage}.")
        keys = [name for name, one in module.named_modules() if name.startswith(ends)]
        keys = [name for name in keys if name.endswith(".conv")]
        child = cast("NEAT", move.network)
        old, new = (one.explicit().kernels[stage] for one in (options, child))
        grown_kernel(surgery, keys, old, new)
        return surgery.morph()
    return surgery.morph(_fresh(module, move, seed))


def _widen(surgery: Surgery, options: NEAT, move: Move, directions: Directions | None) -> None:
    said, level = options.explicit(), int(move.where.partition(".")[2])
    # The channels that come up stand first where the decoder joins both.
    up_width = said.decoder_widths[level] if level < len(said.decoder_widths) else 0
    for name, space in spaces(said, move.where, up_width).items():
        if move.operator == "widen":
            surgery.widen(space, move.count, NOISE)
        elif name == "middle" and directions is not None:
            _add_directions(surgery, space, move.count, directions)
        else:
            surgery.add(space, move.count)


def _add_directions(surgery: Surgery, space: Space, count: int, directions: Directions) -> None:
    """As many as there are directions take those; what is left is drawn."""
    first = surgery.state[f"{space.makes[0]}.weight"]
    second = surgery.state[f"{space.takes[0].key}.weight"]
    found = directions.scaled(first, second)
    some = min(count, len(found.values))
    surgery.add(space, some, found.incoming[:some].cpu(), found.outgoing[:, :some].cpu())
    if count > some:
        surgery.add(space, count - some)


def _fresh(module: nn.Module, move: Move, seed: int) -> Mapping[str, Tensor]:
    """What the larger network has beside the old one, drawn, its last scale or weights zero."""
    old = module.state_dict()
    channels = old["encoder.0.first.conv.weight"].shape[1], old["head.weight"].shape[0]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        new = move.network(*channels).state_dict()
    fresh = {key: tensor for key, tensor in new.items() if key not in old}
    silent = ".second.norm.weight" if move.operator == "deepen" else "projections."
    for key, tensor in fresh.items():
        if key.endswith(silent) or key.startswith(silent):
            tensor.zero_()
    return fresh
