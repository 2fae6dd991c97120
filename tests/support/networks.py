"""The options that make each network small enough to be built and trained in a test."""

from __future__ import annotations

from importlib import import_module
from typing import Any

SMALL: dict[str, dict[str, Any]] = {
    "dynunet": {"widths": (4, 6, 8), "deep_supervision": 1},
    "segformer": {
        "widths": (4, 8, 8, 16),
        "depths": (1, 1, 1, 1),
        "heads": (1, 2, 2, 4),
        "strides": (2, 2, 2, 2),
        "reductions": (4, 2, 1, 1),
        "head_width": 8,
    },
    "setr": {"width": 16, "depth": 4, "attention_heads": 2, "patch": 8, "head_width": 8},
    "segresnet": {"width": 8, "blocks_down": (1, 1, 1), "blocks_up": (1, 1)},
    "swin_unetr": {"width": 12, "depths": (1, 1, 1, 1), "window": 3},
    "unetr": {"width": 4, "hidden_width": 8, "attention_heads": 2, "image_size": 32},
    "attention_unet": {"widths": (4, 6, 8)},
    "mednext": {"width": 2},
    "neat": {"widths": (4, 6, 8), "encoder_blocks": (0, 1, 0), "added": 1},
    "pointrend": {
        "depth": 18,
        "base": 4,
        "pyramid_channels": 8,
        "head_channels": 8,
        "point_channels": 8,
    },
    "monai": {
        "network": "UNet",
        "arguments": {"channels": (4, 6, 8), "strides": (2, 2), "num_res_units": 1},
    },
    "smp": {"encoder": "resnet18"},
    "hf_segformer": {},
    "unet": {"widths": (4, 6, 8), "deep_supervision": 1},
    "uctransnet": {
        "widths": (4, 6, 8, 8),
        "image_size": 16,
        "attention_layers": 2,
        "attention_heads": 2,
        "expansion": 2,
    },
    "enet": {"widths": (4, 8, 16), "repeats": 1},
    "bisenetv2": {"width": 0.06, "identity_start": False},
    "stdc": {"width": 0.06, "context": 4},
    "fcn": {
        "base": 4,
        "hidden_channels": 8,
        "kernel": 3,
        "strides": (2, 2, 2, 1, 1),
        "norm": "batch",
    },
    "fcn_resnet": {"depth": 18, "base": 4},
    "deeplab_v1": {"base": 4, "hidden_channels": 8, "multi_scale": True, "norm": "batch"},
    "deeplab_v2": {"depth": 18, "base": 4, "scales": (1.0, 0.5)},
    "deeplab_v3": {"depth": 18, "base": 4},
    "deeplab_v3plus": {"depth": 18, "base": 4, "low_channels": 4},
    "pspnet": {"depth": 18, "base": 4},
    "psanet": {"depth": 18, "base": 4, "mask": 5},
    "gcn": {"depth": 18, "base": 4, "kernel": 3},
    "dense_aspp": {"growth": 4, "blocks": (1, 1, 2, 1)},
    "sfnet": {"depth": 18, "base": 4},
    "modular": {"base": 4, "width": 4},
}

OPTIONAL = {
    "smp": "segmentation_models_pytorch",
    "hf_segformer": "transformers.models.segformer.modeling_segformer",
}


def there(name: str) -> bool:
    """Whether the package that a network is of can be imported."""
    try:
        import_module(OPTIONAL.get(name, "medseg"))
    except (ImportError, RuntimeError):
        return False
    return True
