"""Networks in their papers' form have as many parameters as the reference code."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from medseg.models import MODELS
from medseg.models.encoders.stdc import STDCEncoder
from medseg.models.modules.ppm import PyramidPooling
from medseg.models.modules.psa import PointwiseSpatialAttention
from medseg.models.stdc import BLOCKS

VIT_L: dict[str, Any] = {"spatial_dims": 2, "size": "large", "image_size": 512}

LEAN_UNET: dict[str, Any] = {
    "spatial_dims": 2,
    "widths": (64, 128, 256, 512, 512),
    "blocks": (1, 2, 2, 2, 2),
    "decoder_widths": (64, 64, 128, 256),
    "conv_bias": True,
}

STDC2: dict[str, Any] = {"spatial_dims": 2, "size": "stdc2"}

# Name, options, channels, labels (of the logits, background included), parameters.
COUNTS: list[tuple[str, dict[str, Any], int, int, int]] = [
    ("dynunet", {"spatial_dims": 3, "widths": (32, 64, 128, 256, 320, 320)}, 1, 2, 31_189_410),
    ("segformer", {"spatial_dims": 2, "size": "b0"}, 3, 150, 3_752_694),
    ("segformer", {"spatial_dims": 2, "size": "b1"}, 3, 150, 13_715_798),
    ("segformer", {"spatial_dims": 2, "size": "b2"}, 3, 150, 27_461_974),
    ("segformer", {"spatial_dims": 2, "size": "b3"}, 3, 150, 47_337_814),
    ("segformer", {"spatial_dims": 2, "size": "b4"}, 3, 150, 64_108_374),
    ("segformer", {"spatial_dims": 2, "size": "b5"}, 3, 150, 84_708_694),
    # With the head of mmsegmentation's width.
    ("segformer", {"spatial_dims": 2, "size": "b2", "head_width": 256}, 3, 150, 24_760_662),
    ("segformer", {"spatial_dims": 2, "size": "b3", "head_width": 256}, 3, 150, 44_636_502),
    ("segformer", {"spatial_dims": 2, "size": "b4", "head_width": 256}, 3, 150, 61_407_062),
    ("segformer", {"spatial_dims": 2, "size": "b5", "head_width": 256}, 3, 150, 82_007_382),
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
    ("fcn", {"spatial_dims": 2, "stride": 32}, 3, 21, 134_346_581),
    ("fcn", {"spatial_dims": 2, "stride": 16}, 3, 21, 134_357_354),
    ("fcn", {"spatial_dims": 2, "stride": 8}, 3, 21, 134_362_751),
    ("fcn", {"spatial_dims": 2, "stride": 8, "faithful": True}, 3, 21, 134_362_751),
    ("deeplab_v1", {"spatial_dims": 2, "field": "original"}, 3, 21, 65_140_565),
    ("deeplab_v1", {"spatial_dims": 2}, 3, 21, 20_505_429),
    ("deeplab_v1", {"spatial_dims": 2, "multi_scale": True}, 3, 21, 21_711_550),
    ("deeplab_v2", {"spatial_dims": 2, "encoder": "vgg", "norm": "none"}, 3, 21, 37_877_652),
    ("deeplab_v2", {"spatial_dims": 2}, 3, 21, 44_048_532),
    ("deeplab_v3", {"spatial_dims": 2, "auxiliary": False}, 3, 21, 39_638_869),
    ("deeplab_v3", {"spatial_dims": 2}, 3, 21, 42_004_074),
    ("deeplab_v3", {"spatial_dims": 2, "depth": 101, "auxiliary": False}, 3, 21, 58_630_997),
    ("deeplab_v3", {"spatial_dims": 2, "depth": 101}, 3, 21, 60_996_202),
    ("fcn_resnet", {"spatial_dims": 2, "auxiliary": False}, 3, 21, 32_957_013),
    ("fcn_resnet", {"spatial_dims": 2}, 3, 21, 35_322_218),
    ("fcn_resnet", {"spatial_dims": 2, "depth": 101, "auxiliary": False}, 3, 21, 51_949_141),
    ("fcn_resnet", {"spatial_dims": 2, "depth": 101}, 3, 21, 54_314_346),
    (
        "deeplab_v3plus",
        {"spatial_dims": 2, "between": False, "context_conv": True, "decoder_convs": 1},
        3,
        21,
        26_682_725,
    ),
    (
        "deeplab_v3plus",
        {
            "spatial_dims": 2,
            "output_stride": 8,
            "deep_stem": True,
            "stem_base": 32,
            "head_channels": 512,
            "project_kernel": 3,
            "auxiliary": True,
        },
        3,
        19,
        43_589_878,
    ),
    ("pspnet", {"spatial_dims": 2}, 3, 150, 49_180_908),
    ("pspnet", {"spatial_dims": 2, "stem_base": 32}, 3, 19, 48_975_494),
    ("pspnet", {"spatial_dims": 2, "stem_base": 32}, 3, 150, 49_076_364),
    ("psanet", {"spatial_dims": 2}, 3, 150, 53_273_836),
    ("psanet", {"spatial_dims": 2, "stem_base": 32, "mask": 97}, 3, 19, 59_138_694),
    ("psanet", {"spatial_dims": 2, "stem_base": 32, "mask": 66}, 3, 150, 54_065_292),
    ("dense_aspp", {"spatial_dims": 2}, 3, 19, 8_280_851),
    ("dense_aspp", {"spatial_dims": 2, "trunk": 161}, 3, 19, 35_395_427),
    ("sfnet", {"spatial_dims": 2, "depth": 18, "auxiliary": False}, 3, 19, 12_869_715),
    ("sfnet", {"spatial_dims": 2, "depth": 50, "auxiliary": False}, 3, 19, 31_325_139),
    ("sfnet", {"spatial_dims": 2, "depth": 101, "auxiliary": False}, 3, 19, 50_317_267),
    # The reference has a 1x1 convolution from 512 to 128 channels more, which nothing reads.
    ("sfnet", {"spatial_dims": 2, "depth": 18, "lite": True}, 3, 19, 12_296_074 - 65_920),
    ("gcn", {"spatial_dims": 2}, 3, 21, 59_369_620),
    ("stdc", {"spatial_dims": 2, "auxiliary": False, "detail": False}, 3, 19, 8_275_104),
    ("stdc", {**STDC2, "auxiliary": False, "detail": False}, 3, 19, 12_305_568),
    # The reference code has a classifier more, and heads for edges that nothing reads.
    ("stdc", {"spatial_dims": 2}, 3, 19, 12_048_928 - 3_125_248 - 350_784),
    ("stdc", STDC2, 3, 19, 16_079_392 - 3_125_248 - 350_784),
]


def counted(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


@pytest.mark.parametrize(("name", "options", "channels", "labels", "wanted"), COUNTS)
def test_a_network_of_the_papers_size_has_the_papers_parameters(
    name: str, options: dict[str, Any], channels: int, labels: int, wanted: int
) -> None:
    with torch.device("meta"):
        module = MODELS[name](**options)(channels, labels)
    assert counted(module) == wanted


def of(place: str, name: str, labels: int = 150, **options: Any) -> Callable[[], nn.Module]:
    """What a network in 2D has at a place."""
    return lambda: MODELS[name](spatial_dims=2, **options)(3, labels).get_submodule(place)


# What is counted, what makes it, and its parameters.
PARTS: list[tuple[str, Callable[[], nn.Module], int]] = [
    ("MiT-B0", of("encoder", "segformer", size="b0"), 3_319_392),
    ("MiT-B1", of("encoder", "segformer", size="b1"), 13_151_424),
    ("MiT-B2", of("encoder", "segformer", size="b2"), 24_196_288),
    ("MiT-B3", of("encoder", "segformer", size="b3"), 44_072_128),
    ("MiT-B4", of("encoder", "segformer", size="b4"), 60_842_688),
    ("MiT-B5", of("encoder", "segformer", size="b5"), 81_443_008),
    ("ViT-L/16", of("encoder", "setr", size="large", image_size=512), 304_146_432),
    # The classifiers for 1000 labels, which are not built, have that much more.
    ("STDC1", lambda: STDCEncoder(2, 3, BLOCKS["stdc1"]), 8_443_552 - 3_125_248),
    ("STDC2", lambda: STDCEncoder(2, 3, BLOCKS["stdc2"]), 12_474_016 - 3_125_248),
    ("PPM", lambda: PyramidPooling(2, 2048), 4_198_400),
    ("PSPNet's head", of("head.parts.1", "pspnet"), 18_952_342),
    ("PSPNet's auxiliary head", of("auxiliary", "pspnet"), 2_398_358),
    ("PSA", lambda: PointwiseSpatialAttention(2, 2048, 512, (59, 59)), 8_291_328),
    ("PointRend's neck", of("host.neck", "pointrend", 19), 3_344_384),
]


@pytest.mark.parametrize(("what", "made", "wanted"), PARTS)
def test_a_part_of_the_papers_size_has_the_papers_parameters(
    what: str, made: Callable[[], nn.Module], wanted: int
) -> None:
    with torch.device("meta"):
        assert counted(made()) == wanted, what


def test_pointrends_heads_have_the_papers_parameters_together() -> None:
    with torch.device("meta"):
        module = MODELS["pointrend"](spatial_dims=2)(3, 19)
    heads = [module.get_submodule(place) for place in ("host.head", "points")]
    assert sum(map(counted, heads)) == 1_843_471
