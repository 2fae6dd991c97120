"""Scores as probabilities that mean what they say: sharpened or softened by one temperature.

(Guo et al. 2017, arXiv:1706.04599.) A temperature above 1 makes a network less sure of itself,
one below 1 surer; which label is the likeliest stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from medseg.image import Grid, LabelMap, Labels
from medseg.image.resampling import index_map, inside_of
from medseg.inference.decision import sampled, slabs
from medseg.inference.scores import Scores

TEMPERATURES: tuple[float, ...] = tuple(np.geomspace(0.25, 8.0, 41).tolist())
"""Where likelihoods are told; a spline leads from one to the next."""
SURE = 65535
"""Probabilities are written as shares of this."""
_VOXELS = 50_000
_LEAST = 1e-7


def calibrated(scores: Scores, temperature: float) -> Scores:
    """The scores as probabilities at a temperature; the likeliest label is the same."""
    if temperature == 1 and scores.decision.scores == "probabilities":
        return scores
    data = probable(scores.data, scores, temperature)
    return replace(scores, data=data, decision=replace(scores.decision, scores="probabilities"))


def probabilities_on(
    scores: Scores, grid: Grid, temperature: float = 1.0
) -> list[NDArray[np.uint16]]:
    """Probabilities (X, Y, Z) of each label on ``grid``, as shares of ``SURE``.

    They are interpolated as the decision has it, then calibrated: where labels are exclusive the
    likeliest of them and the background is the one that ``decided_on`` writes. 0 outside the
    scores' field of view.
    """
    names = scores.labels.names
    told = [np.zeros(grid.shape, np.uint16) for _ in names]
    nearest = scores.decision.nearest_axis(scores.grid, grid)
    with torch.no_grad():
        for rows, slab in slabs(scores.data, scores.grid, grid, nearest):
            shares = probable(slab, scores, temperature)[-len(names) :].mul(SURE).round()
            for one, share in zip(told, shares.to(torch.int32).cpu().numpy(), strict=True):
                one[rows] = share
    outside = ~inside_of(grid, scores.grid)
    for one in told:
        one[outside] = 0
    return told


def probable(data: Tensor, scores: Scores, temperature: float = 1.0) -> Tensor:
    """Probabilities (K, ...) of what ``scores`` mean by ``data (K, ...)``, at a temperature."""
    if temperature == 1 and scores.decision.scores == "probabilities":
        return data.float().clamp(0, 1)
    sharper = _logits(data, scores) / temperature
    return sharper.softmax(0) if scores.labels.exclusive else sharper.sigmoid()


@dataclass(frozen=True)
class Likelihood:
    """Negative log-likelihoods of references at ``TEMPERATURES``, summed over voxels."""

    sums: tuple[float, ...]
    voxels: int

    @classmethod
    def total(cls, several: Iterator[Likelihood]) -> Likelihood:
        """What several studies say together, every voxel counting the same."""
        sums, voxels = np.zeros(len(TEMPERATURES)), 0
        for one in several:
            sums, voxels = sums + one.sums, voxels + one.voxels
        return cls(tuple(sums.tolist()), voxels)

    @property
    def temperature(self) -> float:
        """Where the sum is least; 1 where there is nothing to go by."""
        if not self.voxels or not np.isfinite(self.sums).all():
            return 1.0
        tried = np.geomspace(TEMPERATURES[0], TEMPERATURES[-1], 2001)
        return round(float(tried[np.argmin(self._curve(np.log(tried)))]), 3)

    def mean_at(self, temperature: float) -> float:
        """The mean over voxels, by a spline through what is known."""
        return float(self._curve(np.log(temperature))) / max(self.voxels, 1)

    @property
    def _curve(self) -> Any:
        from scipy.interpolate import CubicSpline

        return CubicSpline(np.log(TEMPERATURES), self.sums)


def likelihood(scores: Scores, reference: LabelMap) -> Likelihood:
    """How likely the scores find a reference at each of ``TEMPERATURES``.

    At up to 50,000 of its voxels, drawn evenly by a fixed seed; voxels to ignore and those
    outside the scores' field of view are left out.
    """
    labels, grid = reference.labels, reference.grid
    known = inside_of(grid, scores.grid)
    if labels.ignore is not None:
        known &= reference.data != labels.ignore
    places = np.flatnonzero(known)
    if len(places) > _VOXELS:
        places = np.random.default_rng(0).choice(places, _VOXELS, replace=False)
    index = np.stack(np.unravel_index(places, grid.shape), -1).astype(np.float64)
    turn = index_map(grid, scores.grid)
    at = torch.from_numpy(index @ turn[:3, :3].T + turn[:3, 3]).to(scores.data.device)
    with torch.no_grad():
        logits = _logits(sampled(scores.data, at), scores)
        values = torch.from_numpy(reference.data.reshape(-1)[places].astype(np.int64))
        sums = _summed(logits, values.to(logits.device), labels)
    return Likelihood(tuple(sums), len(places))


def _summed(logits: Tensor, values: Tensor, labels: Labels) -> Iterator[float]:
    """The sum at each temperature for logits (K, N) and mask values (N)."""
    if labels.exclusive:
        wanted = torch.zeros_like(values)
        for channel, label in enumerate(labels, 1):
            wanted[values == label.values[0]] = channel
        for one in TEMPERATURES:
            yield float(cross_entropy(logits.T / one, wanted, reduction="sum"))
        return
    members = [torch.isin(values, values.new_tensor(label.values)) for label in labels]
    wanted = torch.stack(members).to(logits.dtype)
    for one in TEMPERATURES:
        found = binary_cross_entropy_with_logits(logits / one, wanted, reduction="sum")
        yield float(found) / len(labels)


def _logits(data: Tensor, scores: Scores) -> Tensor:
    """Scores (K, ...) before their softmax or sigmoid, to a constant."""
    data = data.float()
    if scores.decision.scores == "logits":
        return data
    data = data.clamp(_LEAST, 1.0)
    return data.log() if scores.labels.exclusive else data.clamp(max=1 - _LEAST).logit()
