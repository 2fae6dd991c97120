"""The part of a volume that windows are still being added to, as deep as one window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

PIECE_FLOATS = 1 << 24
"""Numbers that are handed out at once, a row of voxels at least: 64 MiB."""


class Ring:
    """Sums (depth, Y, Z, K) over windows; row r of the volume lies at r modulo ``depth``.

    ``weights`` are those of a window's voxels along each of its three sides, ``totals`` what all
    windows' weights add up to along each side of the volume.
    """

    def __init__(self, weights: Sequence[Tensor], totals: Sequence[Tensor]) -> None:
        self._along = list(weights)
        x, y, z = weights
        self._weights = (x[:, None, None] * y[:, None] * z)[..., None]
        self._deep = totals[0][:, None, None, None]
        self._share = (totals[1][:, None] * totals[2])[..., None]
        self._depth = len(x)
        self._sums: Tensor | None = None

    def add(self, start: int, corner: Sequence[int], said: Tensor) -> None:
        """Add what was said of a window (x, y, z, K) that begins at row ``start``."""
        if self._sums is None:
            wide, high = self._share.shape[:2]
            shape = (self._depth, wide, high, said.shape[-1])
            self._sums = torch.zeros(shape, device=self._share.device)
        y, z = corner
        if self._sums.device.type == "cpu":
            self._compiled(start, y, z, said)
            return
        said = said.float() * self._weights
        turn = start % self._depth
        place = self._sums[:, y : y + said.shape[1], z : z + said.shape[2]]
        place[turn:] += said[: self._depth - turn]
        if turn:
            place[:turn] += said[self._depth - turn :]

    def _compiled(self, start: int, y: int, z: int, said: Tensor) -> None:
        from medseg.compiled import by_rows
        from medseg.inference import kernels

        assert self._sums is not None
        x, *_ = said.shape
        along = tuple(one.numpy() for one in self._along)
        by_rows(
            kernels.add_window,
            x,
            torch.get_num_threads(),
            said.float().numpy(),
            along,
            (start % self._depth, y, z),
            self._sums.numpy(),
        )

    def finished(self, start: int, stop: int) -> Iterator[Tensor]:
        """The weighted means of rows ``start`` to ``stop`` in pieces (R, Y, Z, K).

        They make room for rows ``stop`` on; before anything was added there are none.
        """
        sums = self._sums
        if sums is None:
            return
        most = max(1, PIECE_FLOATS // sums[0].numel())
        while start < stop:
            turn = start % self._depth
            count = min(most, stop - start, self._depth - turn)
            rows = sums[turn : turn + count] / self._share
            rows /= self._deep[start : start + count]
            sums[turn : turn + count] = 0
            yield rows
            start += count
