"""BiSeNetV2 as the code of github.com/CoinCheung/BiSeNet saves it, to predict or to train."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from medseg.models.bisenetv2 import BiSeNetV2
from medseg.models.importers import Imported
from medseg.models.importers.placing import bare, needed, placed

_HEADS = ("aux2", "aux3", "aux4", "aux5_4")
_STAGES = ("S3", "S4", "S5_4")
_OWN = (
    (r"^(bga\.conv|.*\.(?:dwconv[12]?|conv2))\.0\.", r"\1.conv."),
    (r"^(bga\.conv|.*\.(?:dwconv[12]?|conv2))\.1\.", r"\1.norm."),
    (r"\.shortcut\.0\.", ".shortcut.0.conv."),
    (r"\.shortcut\.1\.", ".shortcut.0.norm."),
    (r"\.shortcut\.2\.", ".shortcut.1.conv."),
    (r"\.shortcut\.3\.", ".shortcut.1.norm."),
    (r"^segment\.S5_5\.bn\.", "semantic.context.before_conv."),
    (r"\.bn\.", ".norm."),
    (r"^segment\.S5_5\.conv_gap\.", "semantic.context.context."),
    (r"^segment\.S5_5\.conv_last\.", "semantic.context.last."),
    *((rf"^detail\.S{place + 1}\.", f"detail.stages.{place}.") for place in range(3)),
    (r"^segment\.S1S2\.", "semantic.stem."),
    *((rf"^segment\.{one}\.", f"semantic.stages.{place}.") for place, one in enumerate(_STAGES)),
    (r"^(semantic\.stages\.\d+\.\d+)\.conv1\.", r"\1.first."),
    (r"\.dwconv1?\.", ".widen."),
    (r"\.dwconv2\.", ".spread."),
    (r"^(semantic\.stages\.\d+\.\d+)\.conv2\.", r"\1.narrow."),
    (r"^bga\.left1\.", "aggregation.detail_fine."),
    (r"^bga\.left2\.", "aggregation.detail_coarse."),
    (r"^bga\.right1\.", "aggregation.semantic_fine."),
    (r"^bga\.right2\.", "aggregation.semantic_coarse."),
    (r"^bga\.conv\.", "aggregation.merge."),
    *((rf"^{one}\.", f"auxiliary.{place}.") for place, one in enumerate(_HEADS)),
    (r"^(auxiliary\.\d+)\.conv_out\.0\.1\.", r"\1.spread."),
    (r"^(auxiliary\.\d+)\.conv_out\.1\.", r"\1.classifier."),
    (r"^head\.conv\.", "head.0."),
    (r"^head\.conv_out\.1\.", "head.2."),
)


def read(state: Mapping[str, Tensor]) -> Imported:
    """A BiSeNetV2 whose width, expansion, heads and labels are read off the tensors' shapes.

    Raises ModelError E_CHECKPOINT where it is no such network.
    """
    state = bare(state)
    first = needed(state, "detail.S1.0.conv.weight", (4, 5))
    convs = (first.ndim,)
    narrow = needed(state, "segment.S3.0.conv1.conv.weight", convs)
    wide = needed(state, "segment.S3.0.dwconv1.0.weight", convs)
    network = BiSeNetV2(
        spatial_dims=2 if first.ndim == 4 else 3,
        width=len(first) / 64,
        expansion=max(len(wide) // len(narrow), 1),
        auxiliary=f"{_HEADS[0]}.conv.conv.weight" in state,
        norm="batch",
    )
    labels = len(needed(state, "head.conv_out.1.weight", convs))
    return placed(network, (first.shape[1], labels), state, _own)


def _own(key: str) -> str:
    for pattern, own in _OWN:
        key = re.sub(pattern, own, key)
    return key
