"""Networks in their papers' form have as many parameters as the reference code."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medseg.models import MODELS

# Name, options, channels, labels (of the logits, background included), parameters.
COUNTS: list[tuple[str, dict[str, Any], int, int, int]] = [
    ("dynunet", {"spatial_dims": 3, "widths": (32, 64, 128, 256, 320, 320)}, 1, 2, 31_189_410),
]


@pytest.mark.parametrize(("name", "options", "channels", "labels", "wanted"), COUNTS)
def test_a_network_of_the_papers_size_has_the_papers_parameters(
    name: str, options: dict[str, Any], channels: int, labels: int, wanted: int
) -> None:
    with torch.device("meta"):
        module = MODELS[name](**options)(channels, labels)
    assert sum(p.numel() for p in module.parameters() if p.requires_grad) == wanted
