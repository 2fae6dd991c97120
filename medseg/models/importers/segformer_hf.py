"""SegFormer as Hugging Face's transformers save it, by its names of before and since version 5."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from medseg.errors import ModelError
from medseg.models.importers import Imported
from medseg.models.importers.placing import bare, counted, needed, placed
from medseg.models.segformer import HEADS, REDUCTIONS, SIZES, SegFormer

_STAGES = range(4)
_SINCE_FIVE = (
    (r"^segformer\.encoder\.patch_embeddings\.(\d+)\.", r"segformer.stages.\1.patch_embeddings."),
    (r"^segformer\.encoder\.block\.(\d+)\.", r"segformer.stages.\1.blocks."),
    (r"^segformer\.encoder\.layer_norm\.(\d+)\.", r"segformer.stages.\1.layer_norm."),
    (r"\.attention\.self\.([qkv])[a-z]+\.", r".attention.\1_proj."),
    (r"\.attention\.self\.sr\.", ".attention.sequence_reduction.sequence_reduction."),
    (r"\.attention\.self\.layer_norm\.", ".attention.sequence_reduction.layer_norm."),
    (r"\.attention\.output\.dense\.", ".attention.o_proj."),
    (r"\.layer_norm_1\.", ".layernorm_before."),
    (r"\.layer_norm_2\.", ".layernorm_after."),
    (r"\.mlp\.dense([12])\.", r".mlp.fc\1."),
    (r"^decode_head\.linear_c\.", "decode_head.linear_projections."),
)
_OWN = (
    (r"\.patch_embeddings\.proj\.", ".embed.conv."),
    (r"\.patch_embeddings\.layer_norm\.", ".embed.norm."),
    (r"^segformer\.stages\.(\d+)\.layer_norm\.", r"segformer.stages.\1.norm."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.q_proj\.", ".attention.query."),
    (r"\.attention\.k_proj\.", ".attention.key."),
    (r"\.attention\.v_proj\.", ".attention.value."),
    (r"\.attention\.o_proj\.", ".attention.out."),
    (r"\.sequence_reduction\.sequence_reduction\.", ".reduce.conv."),
    (r"\.sequence_reduction\.layer_norm\.", ".reduce.norm."),
    (r"\.mlp\.fc1\.", ".ffn.expand."),
    (r"\.mlp\.dwconv\.dwconv\.", ".ffn.depthwise.conv."),
    (r"\.mlp\.fc2\.", ".ffn.project."),
    (r"^segformer\.", "encoder."),
    (r"^decode_head\.linear_projections\.(\d+)\.proj\.", r"head.projections.\1.0."),
    (r"^decode_head\.linear_fuse\.", "head.fuse.conv."),
    (r"^decode_head\.batch_norm\.", "head.fuse.norm."),
    (r"^decode_head\.classifier\.", "head.classifier."),
)


def read(state: Mapping[str, Tensor]) -> Imported:
    """A 2D SegFormer of any size: its parts are read off the tensors' names and shapes.

    Heads cannot be read off: they are the paper's, or the next fewer that share a stage's width
    evenly. Raises ModelError E_CHECKPOINT where the tensors are of no such network.
    """
    state = bare(state)
    found = {_own(key): tensor for key, tensor in state.items()}
    embeds = [found.get(f"encoder.stages.{stage}.embed.conv.weight") for stage in _STAGES]
    if any(embed is None or embed.ndim != 4 for embed in embeds):
        raise ModelError("E_CHECKPOINT", "has no four patch embeddings as a SegFormer in 2D has")
    if "head.fuse.conv.weight" not in found:
        raise ModelError("E_CHECKPOINT", "has no decode_head: an encoder alone makes no masks")
    network = _network(found)
    channels = found["encoder.stages.0.embed.conv.weight"].shape[1]
    labels = len(needed(found, "head.classifier.weight", (4,)))
    return placed(network, (channels, labels), state, _own)


def _own(key: str) -> str:
    for pattern, name in (*_SINCE_FIVE, *_OWN):
        key = re.sub(pattern, name, key)
    return key


def _network(found: Mapping[str, Tensor]) -> SegFormer:
    """What a size of the paper has is left to that size."""
    stages = [f"encoder.stages.{stage}" for stage in _STAGES]
    embeds = [needed(found, f"{stage}.embed.conv.weight", (4,)) for stage in stages]
    inner = [needed(found, f"{stage}.blocks.0.ffn.expand.weight", (2,)) for stage in stages]
    widths = tuple(map(len, embeds))
    depths = tuple(counted(found, rf"^{re.escape(s)}\.blocks\.(\d+)\.") for s in stages)
    expansions = tuple(max(len(one) // w, 1) for one, w in zip(inner, widths, strict=True))
    reductions = tuple(_reduction(found, stage) for stage in stages)
    heads = tuple(_heads(*pair) for pair in zip(widths, HEADS, strict=True))
    named = [size for size, parts in SIZES.items() if parts[:2] == (widths, depths)]
    return SegFormer(
        spatial_dims=2,
        size=named[0] if named else "b0",
        widths=None if named else widths,
        depths=None if named else depths,
        heads=None if heads == HEADS else heads,
        strides=tuple((embed.shape[2] + 1) // 2 for embed in embeds),
        reductions=None if reductions == REDUCTIONS[2] else reductions,
        expansions=None if set(expansions) == {4} else expansions,
        head_width=len(needed(found, "head.fuse.conv.weight", (4,))),
    )


def _reduction(found: Mapping[str, Tensor], stage: str) -> int:
    """The side of the convolution that makes keys coarser; 1 where there is none."""
    key = f"{stage}.blocks.0.attention.reduce.conv.weight"
    return needed(found, key, (4,)).shape[2] if key in found else 1


def _heads(width: int, most: int) -> int:
    return next(count for count in range(most, 0, -1) if width % count == 0)
