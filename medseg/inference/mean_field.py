"""The mean field of a fully connected random field.

Krähenbühl and Koltun 2011, arXiv:1210.5644.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from medseg.inference.gaussian_sums import Sums

_LABELS = 2
"""Labels at work at once."""


def mean_field(
    shares: Tensor, pairwise: Sequence[tuple[float, Sums]], iterations: int, *, exclusive: bool
) -> Tensor:
    """Probabilities (K, X, Y, Z) of ``shares (K, X, Y, Z)``, after voxels have told each other.

    Exclusive labels, with Potts weights w: Q <- softmax(log p + sum of w n K(n Q)), at all voxels
    at once, where n = (K 1)^(-1/2). A region is a field of two labels, itself and the rest.
    """
    ones = torch.ones_like(shares[:1])
    kernels = [(weight, sums, sums(ones).rsqrt()) for weight, sums in pairwise]
    decide = _softmax_ if exclusive else torch.sigmoid_
    field = decide(_evidence(shares, exclusive=exclusive))
    for _ in range(iterations):
        heard = _evidence(shares, exclusive=exclusive)
        for said, into in zip(
            torch.split(field, _LABELS), torch.split(heard, _LABELS), strict=True
        ):
            lean = said if exclusive else 2 * said - 1
            for weight, sums, norm in kernels:
                into.add_(norm * sums(norm * lean), alpha=weight)
        field = decide(heard)
    return field


def _evidence(shares: Tensor, *, exclusive: bool) -> Tensor:
    """Logits of probabilities that are never quite 0; of a region, against its complement."""
    known = shares.clamp(1e-5, 1).log_()
    return known if exclusive else known - (1 - shares).clamp_(1e-5, 1).log_()


def _softmax_(logits: Tensor) -> Tensor:
    # In place: these may be the largest numbers of the whole run.
    logits -= logits.amax(0)
    logits.exp_()
    logits /= logits.sum(0)
    return logits
