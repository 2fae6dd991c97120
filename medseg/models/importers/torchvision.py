"""torchvision's fcn_resnet50, fcn_resnet101, deeplabv3_resnet50 and deeplabv3_resnet101."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from medseg.errors import ModelError
from medseg.models.deeplab_v3 import DeepLabV3
from medseg.models.fcn_resnet import FCNResNet
from medseg.models.importers import Imported
from medseg.models.importers.placing import bare, counted, needed, placed
from medseg.models.network import Network

# Blocks of the third stage by depth, for the depths that have three convolutions a block.
_DEPTHS = {6: 50, 23: 101, 36: 152}
_PLAIN_DEPTHS = {2: 18, 6: 34}
_OWN = (
    (r"^backbone\.conv1\.", "encoder.stem.conv."),
    (r"^backbone\.bn1\.", "encoder.stem.norm."),
    (r"\.downsample\.0\.", ".project.conv."),
    (r"\.downsample\.1\.", ".project.norm."),
    (r"^aux_classifier\.0\.", "auxiliary.parts.0.conv.conv."),
    (r"^aux_classifier\.1\.", "auxiliary.parts.0.conv.norm."),
    (r"^aux_classifier\.4\.", "auxiliary.parts.0.classifier."),
)
_FCN = (
    (r"^classifier\.0\.", "head.parts.0.conv.conv."),
    (r"^classifier\.1\.", "head.parts.0.conv.norm."),
    (r"^classifier\.4\.", "head.parts.0.classifier."),
)


def read(state: Mapping[str, Tensor]) -> Imported:
    """The network whose depth, widths and labels are read off the tensors' shapes.

    The dilation rates are in no tensor: they are those that torchvision has, 12, 24 and 36 at an
    eighth of the size, and are not clamped. At sizes that are no multiple of 8 borders lie
    otherwise than in torchvision, which does not pad. Raises ModelError E_CHECKPOINT where it is
    none of these networks.
    """
    state = bare(state)
    first = needed(state, "backbone.conv1.weight", (4, 5))
    convs = (first.ndim,)
    blocks = counted(state, r"^backbone\.layer3\.(\d+)\.")
    bottleneck = "backbone.layer1.0.conv3.weight" in state
    depths = _DEPTHS if bottleneck else _PLAIN_DEPTHS
    if blocks not in depths:
        raise ModelError(
            "E_CHECKPOINT",
            f"backbone.layer3 has {blocks} blocks; {' or '.join(map(str, depths))} are wanted",
        )
    pyramid = "classifier.0.project.0.weight" in state
    head = needed(state, f"classifier.0.{'project.0.' if pyramid else ''}weight", convs)
    options: dict[str, Any] = {
        "spatial_dims": first.ndim - 2,
        "depth": depths[blocks],
        "base": len(first),
        "head_channels": len(head),
        "auxiliary": "aux_classifier.0.weight" in state,
    }
    network: Network = FCNResNet(**options)
    if pyramid:
        network = DeepLabV3(**options, rates=(12, 24, 36), clamp=False)
    labels = len(needed(state, "classifier.4.weight", convs))
    last = {True: "conv3", False: "conv2"}[bottleneck]
    rules = (*_OWN, *_blocks(last), *(_pyramid() if pyramid else _FCN))
    return placed(network, (first.shape[1], labels), state, lambda key: _own(key, rules))


def _blocks(last: str) -> tuple[tuple[str, str], ...]:
    """Renamings of what a residual block holds; ``last`` has no normalisation of its own."""
    number = int(last[-1])
    block = r"^backbone\.layer(\d)\.(\d+)\."
    rules = []
    for place in range(1, number):
        for theirs, own in (("conv", "conv"), ("bn", "norm")):
            rules.append((rf"{block}{theirs}{place}\.", rf"@\1.\2.convs.{place - 1}.{own}."))
    rules.append((rf"{block}{last}\.", rf"@\1.\2.convs.{number - 1}."))
    rules.append((rf"{block}bn{number}\.", r"@\1.\2.norm."))
    rules.append((rf"{block}project\.", r"@\1.\2.project."))
    return tuple(rules)


def _pyramid() -> tuple[tuple[str, str], ...]:
    rules = [
        (r"^classifier\.0\.convs\.4\.1\.", "head.parts.0.0.pooling.conv."),
        (r"^classifier\.0\.convs\.4\.2\.", "head.parts.0.0.pooling.norm."),
        (r"^classifier\.0\.convs\.(\d)\.0\.", r"head.parts.0.0.branches.\1.conv."),
        (r"^classifier\.0\.convs\.(\d)\.1\.", r"head.parts.0.0.branches.\1.norm."),
        (r"^classifier\.0\.project\.0\.", "head.parts.0.0.project.conv."),
        (r"^classifier\.0\.project\.1\.", "head.parts.0.0.project.norm."),
        (r"^classifier\.1\.", "head.parts.0.1.conv."),
        (r"^classifier\.2\.", "head.parts.0.1.norm."),
        (r"^classifier\.4\.", "head.parts.0.2."),
    ]
    return tuple(rules)


def _own(key: str, rules: tuple[tuple[str, str], ...]) -> str:
    for pattern, own in rules:
        key = re.sub(pattern, own, key)
    stage = re.match(r"^@(\d)\.", key)
    return f"encoder.stages.{int(stage[1]) - 1}.{key[stage.end() :]}" if stage else key
