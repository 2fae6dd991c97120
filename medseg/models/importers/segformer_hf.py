"""SegFormer as Hugging Face's transformers save it, by its names of before and since version 5."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from medseg.errors import ModelError
from medseg.models.device import without_values
from medseg.models.importers import Imported
from medseg.models.segformer import SIZES, SegFormer

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
    """A 2D SegFormer of one of the paper's sizes, read off the tensors' shapes.

    Heads cannot be read off, so they are the paper's. Raises ModelError E_CHECKPOINT where the
    tensors are of no such network.
    """
    foreign = {_renamed(key): key for key in state}
    found = {own: state[key] for own, key in foreign.items()}
    network = _network(found)
    channels = found["encoder.stages.0.embed.conv.weight"].shape[1]
    labels = found["head.classifier.weight"].shape[0]
    with without_values():
        wanted = network(channels, labels).state_dict()
    for own, tensor in wanted.items():
        if own not in found:
            raise ModelError("E_CHECKPOINT", f"a SegFormer {network.size} has {own}; this has not")
        if found[own].shape != tensor.shape:
            raise ModelError(
                "E_CHECKPOINT",
                f"{foreign[own]} has shape {tuple(found[own].shape)} and a SegFormer"
                f" {network.size} wants {tuple(tensor.shape)}",
            )
    return Imported(
        network=network,
        in_channels=channels,
        out_channels=labels,
        state={own: found[own] for own in wanted},
        unused=tuple(key for own, key in foreign.items() if own not in wanted),
    )


def _renamed(key: str) -> str:
    for pattern, name in (*_SINCE_FIVE, *_OWN):
        key = re.sub(pattern, name, key)
    return key


def _network(found: Mapping[str, Tensor]) -> SegFormer:
    embeds = [found.get(f"encoder.stages.{stage}.embed.conv.weight") for stage in range(4)]
    if any(embed is None or embed.ndim != 4 for embed in embeds):
        raise ModelError("E_CHECKPOINT", "has no four patch embeddings as a SegFormer in 2D has")
    fused = found.get("head.fuse.conv.weight")
    if fused is None or fused.ndim != 4 or "head.classifier.weight" not in found:
        raise ModelError("E_CHECKPOINT", "has no decode_head: an encoder alone makes no masks")
    widths = tuple(len(embed) for embed in embeds if embed is not None)
    depths = tuple(_depth(found, stage) for stage in range(4))
    for size in ("b0", "b1", "b2", "b3", "b4", "b5"):
        if SIZES[size][:2] == (widths, depths):
            return SegFormer(spatial_dims=2, size=size, head_width=len(fused))
    raise ModelError("E_CHECKPOINT", f"has widths {widths} and depths {depths}, no SegFormer's")


def _depth(found: Mapping[str, Tensor], stage: int) -> int:
    start = f"encoder.stages.{stage}.blocks."
    return len({key[len(start) :].partition(".")[0] for key in found if key.startswith(start)})
