"""STDC as the code of its authors, github.com/MichaelFan01/STDC-Seg, saves it."""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor

from medseg.errors import ModelError
from medseg.models.importers import Imported
from medseg.models.importers.placing import bare, counted, needed, placed
from medseg.models.stdc import BLOCKS, STDC

_FEATURE = r"^cp\.backbone\.features\.(\d+)\."
_OWN = (
    (r"\.bn\.", ".norm."),
    (r"\.conv_list\.", ".convs."),
    (r"\.avd_layer\.0\.", ".coarser.conv."),
    (r"\.avd_layer\.1\.", ".coarser.norm."),
    (r"^cp\.arm16\.", "context.refine.0."),
    (r"^cp\.arm32\.", "context.refine.1."),
    (r"\.conv_atten\.", ".attention.conv."),
    (r"\.bn_atten\.", ".attention.norm."),
    (r"^cp\.conv_head16\.", "context.spread.0."),
    (r"^cp\.conv_head32\.", "context.spread.1."),
    (r"^cp\.conv_avg\.", "context.whole."),
    (r"^ffm\.convblk\.", "fusion.mix."),
    (r"^ffm\.conv1\.", "fusion.gate.0."),
    (r"^ffm\.conv2\.", "fusion.gate.2."),
    (r"^conv_out\.", "head."),
    (r"^conv_out16\.", "auxiliary.0."),
    (r"^conv_out32\.", "auxiliary.1."),
    (r"^conv_out_sp8\.", "detail."),
    (r"\.conv_out\.", ".classifier."),
)


def read(state: Mapping[str, Tensor]) -> Imported:
    """An STDC whose size, width, context, heads and labels are read off the tensors' shapes.

    Unused are the encoder's second names for its layers (``x2`` to ``x32``), its classifier, and
    heads for edges on other grids. Raises ModelError E_CHECKPOINT where it is no such network.
    """
    state = bare(state)
    first = needed(state, "cp.backbone.features.0.conv.weight", (4, 5))
    convs = (first.ndim,)
    starts = _starts(state)
    network = STDC(
        spatial_dims=2 if first.ndim == 4 else 3,
        size=_size(starts, counted(state, _FEATURE)),
        width=len(first) / 32,
        context=len(needed(state, "cp.arm16.conv.conv.weight", convs)),
        auxiliary="conv_out16.conv_out.weight" in state,
        detail="conv_out_sp8.conv_out.weight" in state,
        norm="batch",
    )
    labels = len(needed(state, "conv_out.conv_out.weight", convs))
    return placed(network, (first.shape[1], labels), state, lambda key: _own(key, starts))


def _starts(state: Mapping[str, Tensor]) -> list[int]:
    """The numbers of the blocks that begin a stage."""
    found = (re.match(_FEATURE + r"avd_layer\.0\.", key) for key in state)
    return sorted(int(one[1]) for one in found if one)


def _size(starts: Sequence[int], count: int) -> Literal["stdc1", "stdc2"]:
    blocks = tuple(end - start for start, end in pairwise([*starts, count]))
    if blocks == BLOCKS["stdc1"]:
        return "stdc1"
    if blocks == BLOCKS["stdc2"]:
        return "stdc2"
    wanted = " or ".join(str(one) for one in BLOCKS.values())
    raise ModelError(
        "E_CHECKPOINT", f"cp.backbone.features has stages of {blocks} blocks; {wanted} are wanted"
    )


def _own(key: str, starts: Sequence[int]) -> str:
    if feature := re.match(_FEATURE, key):
        number = int(feature[1])
        stage = bisect(starts, number)
        place = f"{stage + 1}.{number - starts[stage - 1]}" if stage else f"{number}"
        key = f"encoder.stages.{place}.{key[feature.end() :]}"
    for pattern, own in _OWN:
        key = re.sub(pattern, own, key)
    return key
