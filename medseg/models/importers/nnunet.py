"""nnU-Net v2's plain and residual-encoder U-Nets, as its trainer saves them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from medseg.models.importers import Imported
from medseg.models.importers.placing import bare, counted, needed, placed
from medseg.models.unet import UNet

# nnU-Net's modules hold each layer twice, and its decoder holds the encoder as well.
_TWICE = re.compile(r"\.all_modules\.|^decoder\.encoder\.")
_OWN = (
    (r"^encoder\.stem\.convs\.0\.", "encoder.stem."),
    (r"^(encoder\.stages\.\d+)\.0\.convs\.", r"\1."),
    (r"^(encoder\.stages\.\d+)\.blocks\.", r"\1."),
    (r"\.skip\.[01]\.", ".project."),
    (r"^decoder\.stages\.", "ups."),
    (r"^decoder\.transpconvs\.(\d+)\.", r"ups.\1.up."),
)


def read(state: Mapping[str, Tensor]) -> Imported:
    """A U-Net ``plain`` or ``residual``, its parts read off the tensors' names and shapes.

    Raises ModelError E_CHECKPOINT where it is no such network.
    """
    state = {key: one for key, one in bare(state).items() if not _TWICE.search(key)}
    levels = counted(state, r"^encoder\.stages\.(\d+)\.")
    residual = "encoder.stem.convs.0.conv.weight" in state
    place = "encoder.stem.convs.0" if residual else "encoder.stages.0.0.convs.0"
    first = needed(state, f"{place}.conv.weight", (4, 5))
    dims = first.ndim - 2
    block, conv = ("blocks", "conv1.conv") if residual else ("0.convs", "conv")
    begins = [
        needed(state, f"encoder.stages.{level}.{block}.0.{conv}.weight", (first.ndim,))
        for level in range(levels)
    ]
    steps = range(levels - 2, -1, -1)
    ups = [needed(state, f"decoder.transpconvs.{s}.weight", (first.ndim,)) for s in steps]
    parts: dict[str, Any] = {
        "form": "residual" if residual else "plain",
        "widths": tuple(map(len, begins)),
        "strides": tuple(tuple(up.shape[2:]) for up in ups),
        "kernels": tuple(tuple(one.shape[2:]) for one in begins),
        "blocks": tuple(
            counted(state, rf"^encoder\.stages\.{level}\.{re.escape(block)}\.(\d+)\.")
            for level in range(levels)
        ),
        "decoder_blocks": tuple(
            counted(state, rf"^decoder\.stages\.{s}\.convs\.(\d+)\.") for s in steps
        ),
    }
    network = UNet(
        spatial_dims=2 if dims == 2 else 3,
        norm=_norm(state, place),
        conv_bias=f"{place}.conv.bias" in state,
        deep_supervision=max(0, levels - 2),
        **parts,
    )
    top = levels - 2
    labels = len(needed(state, f"decoder.seg_layers.{top}.weight", (first.ndim,)))
    turned = {key: _skip_first(key, one) for key, one in state.items()}
    return placed(network, (first.shape[1], labels), turned, lambda key: _own(key, top))


def _norm(state: Mapping[str, Tensor], place: str) -> Literal["batch", "instance", "none"]:
    if f"{place}.norm.running_mean" in state:
        return "batch"
    return "instance" if f"{place}.norm.weight" in state else "none"


def _skip_first(key: str, tensor: Tensor) -> Tensor:
    """nnU-Net puts what comes from below before the skip; both are equally wide."""
    first = re.fullmatch(r"decoder\.stages\.\d+\.convs\.0\.conv\.weight", key)
    if first is None or tensor.ndim < 2:
        return tensor
    half = tensor.shape[1] // 2
    return torch.cat([tensor[:, half:], tensor[:, :half]], dim=1)


def _own(key: str, top: int) -> str:
    if head := re.match(r"^decoder\.seg_layers\.(\d+)\.", key):
        step = int(head[1])
        place = "head." if step == top else f"coarse_heads.{top - 1 - step}."
        return place + key[head.end() :]
    for pattern, own in _OWN:
        key = re.sub(pattern, own, key)
    return key
