"""SegFormer of Hugging Face's transformers, for images of any size and channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from medseg.errors import ModelError
from medseg.models.extras import from_extra
from medseg.models.fitting import cropped, padded
from medseg.models.layers import resized
from medseg.models.nets.monai import ReadableRanges
from medseg.models.segformer import SIZES

if TYPE_CHECKING:
    from medseg.models.hf_segformer import HFSegFormer

_MULTIPLES = (32, 32)


class HFSegFormerNet(nn.Module):
    """(B, C, height, width) to logits (B, K, height, width)."""

    def __init__(self, options: HFSegFormer, in_channels: int, out_channels: int) -> None:
        super().__init__()
        config_of, kind = from_extra(
            options.name, "transformers", "SegformerConfig", "SegformerForSemanticSegmentation"
        )
        widths, depths, head_width = SIZES[options.size]
        config = config_of(
            num_channels=3 if options.pretrained else in_channels,
            num_labels=out_channels,
            hidden_sizes=list(widths),
            depths=list(depths),
            decoder_hidden_size=head_width,
        )
        if options.pretrained:
            self.network = _pretrained(kind, options, config)
            _share_out(self.network, in_channels)
        else:
            with ReadableRanges():
                self.network = kind(config)

    def forward(self, image: Tensor) -> Tensor:
        """``image (B, C, *space)`` of any size to logits (B, K, *space)."""
        full = padded(image, _MULTIPLES)
        logits = resized(self.network(full).logits, full.shape[2:])
        return cropped(logits, image.shape[2:])


def _pretrained(kind: Any, options: HFSegFormer, config: Any) -> Any:
    try:
        network, told = kind.from_pretrained(
            options.pretrained,
            config=config,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise ModelError(
            "E_CHECKPOINT", f"pretrained '{options.pretrained}' cannot be read: {error}"
        ) from error
    # An encoder alone leaves the head fresh; the labels leave the last layer fresh.
    changed = [key[0] for key in told["mismatched_keys"]]
    wrong = [key for key in told["missing_keys"] if not key.startswith("decode_head.")]
    wrong += [key for key in changed if not key.startswith("decode_head.classifier.")]
    wrong += [key for key in told["unexpected_keys"] if key.startswith("segformer.")]
    if wrong:
        raise ModelError(
            "E_CHECKPOINT",
            f"pretrained '{options.pretrained}' is no SegFormer {options.size}:"
            f" {sorted(wrong)[0]} is missing, too much or of another shape",
        )
    return network


def _share_out(network: nn.Module, channels: int) -> None:
    """Let filters for three colours see ``channels`` instead, with the same sum."""
    first = next(layer for layer in network.modules() if isinstance(layer, nn.Conv2d))
    if first.in_channels == channels:
        return
    with torch.no_grad():
        shared = first.weight.sum(dim=1, keepdim=True) / channels
        first.weight = nn.Parameter(shared.repeat(1, channels, 1, 1))
    first.in_channels = channels
