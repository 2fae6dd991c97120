"""MONAI's UNETR, for images of other sizes than its position table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from monai.networks import nets
from torch import Tensor, nn

from medseg.models.fitting import cropped, padded
from medseg.models.layers import resized

if TYPE_CHECKING:
    from medseg.models.unetr import UNETR


class UNETRNet(nets.UNETR):  # type: ignore[misc]
    """(B, C, *space) to logits (B, K, *space) of the same space."""

    def __init__(self, options: UNETR, in_channels: int, out_channels: int) -> None:
        super().__init__(
            spatial_dims=options.spatial_dims,
            in_channels=in_channels,
            out_channels=out_channels,
            img_size=[side * options.patch for side in options.grid],
            feature_size=options.width,
            hidden_size=options.hidden_width,
            mlp_dim=4 * options.hidden_width,
            num_heads=options.attention_heads,
            norm_name=options.norm,
            dropout_rate=options.dropout,
        )
        for block in self.vit.blocks:
            # Of a cross attention that is not there; saved and counted, never read.
            block.norm_cross_attn = nn.Identity()

    def forward(self, image: Tensor) -> Tensor:
        """``image (B, C, *space)`` of any size to logits (B, K, *space)."""
        full = padded(image, self.patch_size)
        maps = self.token_maps(full)
        up = self.decoder5(maps[3], self.encoder4(maps[2]))
        up = self.decoder4(up, self.encoder3(maps[1]))
        up = self.decoder3(up, self.encoder2(maps[0]))
        up = self.decoder2(up, self.encoder1(full))
        return cropped(self.out(up), image.shape[2:])

    def token_maps(self, full: Tensor) -> list[Tensor]:
        """The tokens (B, hidden, *grid) of layers 4, 7, 10 and the last."""
        patches = self.vit.patch_embedding.patch_embeddings(full)
        grid = patches.shape[2:]
        table = self.vit.patch_embedding.position_embeddings
        positions = resized(table.transpose(1, 2).reshape(1, -1, *self.feat_size), grid)
        tokens = (patches + positions).flatten(2).transpose(1, 2)
        tokens, layers = self.vit.patch_embedding.dropout(tokens), []
        for block in self.vit.blocks:
            tokens = block(tokens)
            layers.append(tokens)
        taken: list[Tensor] = [layers[3], layers[6], layers[9], self.vit.norm(tokens)]
        return [one.transpose(1, 2).reshape(len(one), -1, *grid) for one in taken]
