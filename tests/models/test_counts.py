"""Networks in their papers' form have as many parameters as the reference code."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medseg.models import MODELS

VIT_L: dict[str, Any] = {"spatial_dims": 2, "size": "large", "image_size": 512}

LEAN_UNET: dict[str, Any] = {
    "spatial_dims": 2,
    "widths": (64, 128, 256, 512, 512),
    "blocks": (1, 2, 2, 2, 2),
    "decoder_widths": (64, 64, 128, 256),
    "conv_bias": True,
}

# Name, options, channels, labels (of the logits, background included), parameters.
COUNTS: list[tuple[str, dict[str, Any], int, int, int]] = [
    ("dynunet", {"spatial_dims": 3, "widths": (32, 64, 128, 256, 320, 320)}, 1, 2, 31_189_410),
    ("segformer", {"spatial_dims": 2, "size": "b0"}, 3, 150, 3_752_694),
    ("segformer", {"spatial_dims": 2, "size": "b1"}, 3, 150, 13_715_798),
    ("segformer", {"spatial_dims": 2, "size": "b2"}, 3, 150, 27_461_974),
    ("segformer", {"spatial_dims": 2, "size": "b3"}, 3, 150, 47_337_814),
    ("segformer", {"spatial_dims": 2, "size": "b4"}, 3, 150, 64_108_374),
    ("segformer", {"spatial_dims": 2, "size": "b5"}, 3, 150, 84_708_694),
    # SegFormer3D for BraTS.
    ("segformer", {"spatial_dims": 3}, 4, 3, 4_525_251),
    ("setr", {**VIT_L, "head": "naive", "auxiliary_convs": 2}, 3, 150, 305_557_592),
    ("setr", {**VIT_L, "head": "pup"}, 3, 150, 317_290_072),
    ("setr", {**VIT_L, "head": "mla"}, 3, 150, 309_569_262),
    ("setr", {**VIT_L, "head": "naive", "image_size": 768}, 3, 19, 306_535_500),
    ("segresnet", {"spatial_dims": 3, "width": 8}, 1, 2, 1_176_186),
    ("swin_unetr", {"spatial_dims": 3}, 1, 14, 62_187_296),
    # MONAI has a normalisation more in each of the twelve layers, which nothing reads.
    ("unetr", {"spatial_dims": 3}, 1, 14, 92_802_478 - 12 * 2 * 768),
    ("attention_unet", {"spatial_dims": 2}, 1, 2, 31_739_250),
    ("mednext", {"spatial_dims": 3, "deep_supervision": False}, 1, 2, 5_550_914),
    # With the stem of mmsegmentation.
    ("pointrend", {"spatial_dims": 2, "deep_stem": True}, 3, 19, 28_715_119),
    ("unet", {"spatial_dims": 2, "form": "classic"}, 1, 2, 31_030_658),
    ("unet", {"spatial_dims": 3, "form": "classic"}, 3, 3, 19_075_523),
    ("unet", {"spatial_dims": 2}, 3, 2, 31_037_698),
    ("unet", {"spatial_dims": 2, "upsampling": "bilinear"}, 3, 2, 17_263_042),
    ("unet", {"spatial_dims": 3, "form": "plain"}, 1, 2, 31_189_410),
    # The U-Net that UCTransNet is compared with.
    ("unet", LEAN_UNET, 3, 1, 14_751_873),
    ("unet", LEAN_UNET, 3, 9, 14_752_393),
    ("uctransnet", {"spatial_dims": 2}, 3, 1, 66_430_657),
    ("uctransnet", {"spatial_dims": 2}, 3, 9, 66_431_177),
    ("uctransnet", {"spatial_dims": 2}, 1, 9, 66_430_025),
    ("uctransnet", {"spatial_dims": 2, "image_size": 512}, 3, 1, 67_225_537),
    ("enet", {"spatial_dims": 2}, 3, 12, 363_856),
    ("enet", {"spatial_dims": 2}, 3, 19, 364_311),
    ("enet", {"spatial_dims": 2}, 3, 20, 364_376),
    ("enet", {"spatial_dims": 2}, 3, 21, 364_441),
    ("bisenetv2", {"spatial_dims": 2, "auxiliary": False}, 3, 19, 3_358_627),
    ("bisenetv2", {"spatial_dims": 2}, 3, 19, 5_231_487),
]


@pytest.mark.parametrize(("name", "options", "channels", "labels", "wanted"), COUNTS)
def test_a_network_of_the_papers_size_has_the_papers_parameters(
    name: str, options: dict[str, Any], channels: int, labels: int, wanted: int
) -> None:
    with torch.device("meta"):
        module = MODELS[name](**options)(channels, labels)
    assert sum(p.numel() for p in module.parameters() if p.requires_grad) == wanted
