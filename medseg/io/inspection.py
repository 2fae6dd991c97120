"""What can be seen of a scan's voxels without knowing the patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medseg.errors import Caution, StudyError
from medseg.io.sizes import spaced

Rows = NDArray[np.float32]
Frames = tuple[int, int, int, int]
_SAMPLE = 1 << 16
_FEW_VALUES = 8
_FAR_OUT = 100.0
"""An extreme this many times the range of the middle 98 % away from it is told."""


@dataclass(frozen=True)
class Slices:
    """Voxels (T * Z, Y * X) float32 slice by slice, and the extremes of each slice."""

    rows: Rows
    lows: Rows
    highs: Rows


def filled(slices: Slices, frames: Frames, allowed: bool) -> tuple[Slices, tuple[Caution, ...]]:
    """Voxels that are no numbers take the smallest value that is one.

    Raises StudyError E_NONFINITE where that is not ``allowed``, or nothing is finite.
    """
    rows = slices.rows
    bad = ~np.isfinite(rows)
    count = int(bad.sum())
    told = f"{spaced(count)} of {spaced(rows.size)} voxels are NaN or infinite"
    if not allowed or count == rows.size:
        first = np.unravel_index(int(bad.argmax()), frames[::-1])
        where = ", ".join(str(int(place)) for place in first[::-1][:3])
        cure = "" if allowed else "; set input: {nonfinite: fill} to fill them"
        raise StudyError("E_NONFINITE", f"{told}, the first at ({where}){cure}")
    lowest = rows[~bad].min()
    rows[bad] = lowest
    caution = Caution("W_INTENSITY", f"{told}; they were given the smallest value, {lowest:g}")
    return Slices(rows, rows.min(axis=1), rows.max(axis=1)), (caution,)


def inspected(slices: Slices, frames: Frames) -> tuple[Caution, ...]:
    """W_CONSTANT, W_SLICE and W_INTENSITY: a constant scan, slices that repeat or say
    nothing, values that look like a mask's, and extremes far from all others.
    """
    depth = frames[2]
    cautions: tuple[Caution, ...] = ()
    for frame in range(frames[3]):
        part = slice(frame * depth, (frame + 1) * depth)
        one = Slices(slices.rows[part], slices.lows[part], slices.highs[part])
        name = f"frame {frame + 1}: " if frames[3] > 1 else ""
        cautions += _of_frame(one, name)
    return cautions


def _of_frame(slices: Slices, name: str) -> tuple[Caution, ...]:
    low, high = float(slices.lows.min()), float(slices.highs.max())
    if low == high:
        if slices.rows.size == 1:
            return ()
        return (Caution("W_CONSTANT", f"{name}every voxel has the value {low:g}"),)
    return _odd_slices(slices, name) + _odd_values(slices.rows, low, high, name)


def _odd_slices(slices: Slices, name: str) -> tuple[Caution, ...]:
    lows, highs, rows = slices.lows, slices.highs, slices.rows
    varied = lows < highs
    alike = np.flatnonzero(varied[1:] & (lows[1:] == lows[:-1]) & (highs[1:] == highs[:-1])) + 1
    repeated = [int(k) for k in alike if np.array_equal(rows[k], rows[k - 1])]
    inner = np.arange(len(rows))
    there = np.flatnonzero(varied)
    between = (inner > there[0]) & (inner < there[-1]) if there.size else varied
    blank = np.flatnonzero(between & ~varied).tolist()
    cautions: tuple[Caution, ...] = ()
    if repeated:
        cautions += (Caution("W_SLICE", f"{name}slices repeat the one before: {_few(repeated)}"),)
    if blank:
        told = f"{name}slices of one value lie between others: {_few(blank)}"
        cautions += (Caution("W_SLICE", told),)
    return cautions


def _odd_values(rows: Rows, low: float, high: float, name: str) -> tuple[Caution, ...]:
    # An odd step, so that a sample does not run along one column of the image.
    sample: NDArray[np.float32] = rows.reshape(-1)[:: (rows.size // _SAMPLE) | 1]
    values = np.unique(sample)
    if rows.size >= 8**3 and len(values) <= _FEW_VALUES:
        told = f"{name}hardly more than the values {_few(values.tolist())} occur; is it a mask?"
        return (Caution("W_INTENSITY", told),)
    first, last = np.percentile(sample, (1, 99)).tolist()
    reach = _FAR_OUT * (last - first)
    if reach > 0 and (high - last > reach or first - low > reach):
        told = (
            f"{name}values run from {low:g} to {high:g}, though 98 % of them from {first:g} to"
            f" {last:g}"
        )
        return (Caution("W_INTENSITY", told),)
    return ()


def _few(items: list[int] | list[float]) -> str:
    shown = ", ".join(f"{item:g}" for item in items[:8])
    return shown if len(items) <= 8 else f"{shown} and {len(items) - 8} more"
