"""What the transformers share: attention over tokens, their MLP, their first weights."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


def attended(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Scaled dot products of ``query (B, N, C)`` with ``key`` and ``value (B, M, C)``, by head."""
    query, key, value = (
        tokens.reshape(*tokens.shape[:2], heads, -1).transpose(1, 2)
        for tokens in (query, key, value)
    )
    return scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Every token asks every token (Vaswani et al. 2017)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """``tokens (B, N, C)`` to the same shape."""
        query, key, value = self.query_key_value(tokens).chunk(3, dim=-1)
        out: Tensor = self.out(attended(query, key, value, self.heads))
        return out


class Mlp(nn.Sequential):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int, hidden: int, dropout: float = 0.0) -> None:
        super().__init__(
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, width),
            nn.Dropout(dropout),
        )


def draw_linear(module: nn.Module) -> None:
    """Every linear layer of ``module`` truncated normal of 0.02 with no bias."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
