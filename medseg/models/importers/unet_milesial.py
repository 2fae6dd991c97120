"""The U-Net of github.com/milesial/Pytorch-UNet, with either way of going up."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from medseg.models.importers import Imported
from medseg.models.importers.placing import bare, counted, needed, placed
from medseg.models.unet import UNet

_CONVS = {"0": "0.conv", "1": "0.norm", "3": "1.conv", "4": "1.norm"}


def read(state: Mapping[str, Tensor]) -> Imported:
    """A ``padded`` U-Net whose widths, depth and labels are read off the tensors' shapes.

    At sizes that cannot be halved often enough its borders lie otherwise than in the reference,
    which pads on the way up. Raises ModelError E_CHECKPOINT where it is no such network.
    """
    state = bare(state)
    depth = counted(state, r"^down(\d+)\.")
    first = needed(state, "inc.double_conv.0.weight", (4, 5))
    convs = (first.ndim,)
    lowest = [
        needed(state, f"down{level}.maxpool_conv.1.double_conv.3.weight", convs)
        for level in range(1, depth + 1)
    ]
    ups = [
        needed(state, f"up{step}.conv.double_conv.3.weight", convs) for step in range(depth, 0, -1)
    ]
    network = UNet(
        spatial_dims=2 if first.ndim == 4 else 3,
        form="padded",
        widths=(len(first), *map(len, lowest)),
        decoder_widths=tuple(map(len, ups)),
        upsampling="transposed" if "up1.up.weight" in state else "bilinear",
        norm="batch",
        conv_bias="inc.double_conv.0.bias" in state,
    )
    labels = len(needed(state, "outc.conv.weight", convs))
    return placed(network, (first.shape[1], labels), state, _own)


def _own(key: str) -> str:
    pattern = r"(inc|down\d+\.maxpool_conv\.1|up\d+\.conv)\.double_conv\.([0134])\.(\w+)"
    found = re.fullmatch(pattern, key)
    if found:
        return f"{_stage(found[1])}.{_CONVS[found[2]]}.{found[3]}"
    found = re.fullmatch(r"up(\d+)\.up\.(\w+)", key)
    if found:
        return f"ups.{int(found[1]) - 1}.up.{found[2]}"
    return re.sub(r"^outc\.conv\.", "head.", key)


def _stage(part: str) -> str:
    number = int("".join(re.findall(r"^[a-z]+(\d+)", part)) or 0)
    return f"ups.{number - 1}.convs" if part.startswith("up") else f"encoder.stages.{number}"
