"""UCTransNet as its authors' code saves it (github.com/McGregorWwww/UCTransNet)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isqrt

from torch import Tensor

from medseg.errors import ModelError
from medseg.models.importers import Imported
from medseg.models.importers.placing import bare, counted, needed, placed
from medseg.models.uctransnet import UCTransNet

_LAYER = r"^mtc\.encoder\.layer\.(\d+)\."
_SCALES = (
    # Pattern, own key; the last group counts scales from 1.
    (r"^mtc\.embeddings_(\d+)\.position_embeddings$", "fusion.embeddings.{}.positions"),
    (r"^mtc\.embeddings_(\d+)\.patch_embeddings\.", "fusion.embeddings.{}.conv."),
    (r"^mtc\.encoder\.encoder_norm(\d+)\.", "fusion.norms.{}."),
    (r"^mtc\.reconstruct_(\d+)\.", "fusion.rebuilds.{}."),
    (_LAYER + r"attn_norm(\d+)\.", "fusion.layers.{}.norms.{}."),
    (_LAYER + r"ffn_norm(\d+)\.", "fusion.layers.{}.ffn_norms.{}."),
    (_LAYER + r"channel_attn\.query(\d+)\.\d+\.", "fusion.layers.{}.attention.queries.{}."),
    (_LAYER + r"channel_attn\.out(\d+)\.", "fusion.layers.{}.attention.outs.{}."),
    (_LAYER + r"ffn(\d+)\.fc1\.", "fusion.layers.{}.ffns.{}.0."),
    (_LAYER + r"ffn(\d+)\.fc2\.", "fusion.layers.{}.ffns.{}.2."),
)
_REST = (
    (r"^inc\.", "encoder.stages.0.0."),
    (r"^down(\d+)\.nConvs\.(\d+)\.", r"encoder.stages.\1.\2."),
    (_LAYER + r"attn_norm\.", r"fusion.layers.\1.norm_all."),
    (_LAYER + r"channel_attn\.(key|value)\.\d+\.", r"fusion.layers.\1.attention.\2."),
    (r"^outc\.", "head."),
)
_UP = ((r"coatt.mlp_x.1.", "gate.skip."), (r"coatt.mlp_g.1.", "gate.gate."), ("nConvs.", "convs."))


def read(state: Mapping[str, Tensor]) -> Imported:
    """A 2D UCTransNet whose widths, patches, token grid, layers and heads are read off the shapes.

    The token grid is square, as the authors' code has it. Raises ModelError E_CHECKPOINT.
    """
    state = {key: _square(key, tensor) for key, tensor in bare(state).items()}
    scales = counted(state, r"^down(\d+)\.")
    first = needed(state, "inc.conv.weight", (4,))
    downs = [
        needed(state, f"down{level}.nConvs.1.conv.weight", (4,)) for level in range(1, scales + 1)
    ]
    patch = needed(state, f"mtc.embeddings_{scales}.patch_embeddings.weight", (4,)).shape[2:]
    places = needed(state, "mtc.embeddings_1.position_embeddings", (4,)).shape[2:]
    token = [side * 2 ** (scales - 1) for side in patch]
    hidden = needed(state, "mtc.encoder.layer.0.ffn1.fc1.weight", (2,))
    network = UCTransNet(
        spatial_dims=2,
        widths=(len(first), *map(len, downs)),
        patch=(patch[0], patch[1]),
        image_size=(places[0] * token[0], places[1] * token[1]),
        attention_layers=counted(state, _LAYER),
        attention_heads=counted(state, r"^mtc\.encoder\.layer\.0\.channel_attn\.key\.(\d+)\."),
        expansion=max(hidden.shape[0] // hidden.shape[1], 1),
        norm="batch",
    )
    labels = len(needed(state, "outc.weight", (4,)))
    return placed(network, (first.shape[1], labels), state, lambda key: _own(key, scales))


def _square(key: str, tensor: Tensor) -> Tensor:
    """Positions (1, N, C) as (1, C, √N, √N); everything else as it is."""
    if not key.endswith(".position_embeddings"):
        return tensor
    side = isqrt(tensor.shape[1]) if tensor.ndim == 3 else 0
    if side < 1 or side**2 != tensor.shape[1] or 0 in tensor.shape:
        raise ModelError(
            "E_CHECKPOINT",
            f"{key} has shape {tuple(tensor.shape)}; (1, N, C) is wanted, N a square",
        )
    return tensor.transpose(1, 2).reshape(len(tensor), -1, side, side)


def _own(key: str, scales: int) -> str:
    for pattern, name in _SCALES:
        if found := re.match(pattern, key):
            *layer, scale = map(int, found.groups())
            return name.format(*layer, scale - 1) + key[found.end() :]
    if found := re.match(r"^up(\d+)\.", key):
        rest = key[found.end() :]
        for theirs, ours in _UP:
            rest = rest.replace(theirs, ours)
        return f"ups.{scales - int(found[1])}.{rest}"
    for pattern, name in _REST:
        key = re.sub(pattern, name, key)
    return key
