"""Steps about the shape of labels: holes, rough surfaces, what lies inside what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from medseg.image import LabelMap
from medseg.image.box import box_around
from medseg.postprocess.choice import chosen, without
from medseg.step import Step

Box = tuple[slice, slice, slice]


def _box(marked: NDArray[np.bool_], margin: tuple[int, int, int] = (1, 1, 1)) -> Box | None:
    found = box_around(marked, margin)
    if found is None:
        return None
    x, y, z = (slice(a, b) for a, b in zip(*found, strict=True))
    return (x, y, z)


def _margin(mask: LabelMap, reach_mm: float) -> tuple[int, int, int]:
    x, y, z = (int(np.ceil(reach_mm / side)) + 1 for side in mask.grid.spacing_mm)
    return (x, y, z)


@dataclass(frozen=True)
class FillHoles(Step):
    """Fill background that a label encloses, up to ``max_ml`` a hole.

    ``axis`` fills slice by slice across that axis (2: in axial slices of a RAS volume). Only
    background is filled, never another label; a region of several values fills with the value it
    is written by.
    """

    label_fields: ClassVar[tuple[str, ...]] = ("labels",)

    labels: tuple[str, ...] | None = None
    max_ml: float | None = None
    axis: Literal[0, 1, 2] | None = None

    def __post_init__(self) -> None:
        if self.max_ml is not None and self.max_ml <= 0:
            raise ValueError(f"max_ml is above 0, not {self.max_ml}")

    def __call__(self, mask: LabelMap) -> LabelMap:
        """The mask with its holes filled."""
        data = mask.data.copy()
        writes = dict(zip(mask.labels.names, mask.labels.painted, strict=True))
        for name in chosen(mask, self.labels):
            box = _box(mask.where(name))
            if box is not None:
                part = data[box]
                holes = self._holes(mask.where(name)[box], mask.grid.voxel_ml)
                part[holes & (part == 0)] = writes[name]
        return mask.with_data(data)

    def _holes(self, marked: NDArray[np.bool_], voxel_ml: float) -> NDArray[np.bool_]:
        import cc3d
        from scipy.ndimage import binary_fill_holes

        if self.axis is None:
            holes = binary_fill_holes(marked) & ~marked
        else:
            slices = np.moveaxis(marked, self.axis, 0)
            filled = np.stack([binary_fill_holes(one) for one in slices])
            holes = np.moveaxis(filled, 0, self.axis) & ~marked
        if self.max_ml is not None:
            numbered = cc3d.connected_components(holes, connectivity=6)
            small = np.bincount(numbered.ravel()) * voxel_ml <= self.max_ml + 1e-9
            small[0] = False
            holes = small[numbered]
        return np.asarray(holes)


@dataclass(frozen=True)
class Smooth(Step):
    """Smooth surfaces by a Gaussian of ``radius_mm``, the same in all directions of the world.

    Each label's occupancy is blurred and the greatest wins, the background among them, so that
    labels stay apart and none grows at the cost of a gap.
    """

    label_fields: ClassVar[tuple[str, ...]] = ("labels",)

    radius_mm: float
    labels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.radius_mm <= 0:
            raise ValueError(f"radius_mm is above 0, not {self.radius_mm}")

    def __call__(self, mask: LabelMap) -> LabelMap:
        """The mask with smoother surfaces; labels that are not chosen stay as they are."""
        wanted = {v for name in chosen(mask, self.labels) for v in mask.labels[name].values}
        box = _box(np.isin(mask.data, list(wanted)), _margin(mask, 3 * self.radius_mm))
        if box is None:
            return mask
        old = mask.data[box]
        values = [int(v) for v in np.unique(old) if v == 0 or v in wanted]
        new, best = old.copy(), np.full(old.shape, -1.0, np.float32)
        for value in values:
            share = self._blurred(old == value, mask)
            wins = share > best
            best[wins] = share[wins]
            new[wins] = value
        fixed = ~np.isin(old, values)
        new[fixed] = old[fixed]
        data = mask.data.copy()
        data[box] = new
        return mask.with_data(data)

    def _blurred(self, marked: NDArray[np.bool_], mask: LabelMap) -> NDArray[np.float32]:
        from scipy.ndimage import gaussian_filter

        sigma = [self.radius_mm / side for side in mask.grid.spacing_mm]
        blurred: NDArray[np.float32] = gaussian_filter(
            marked.astype(np.float32), sigma, mode="nearest"
        )
        return blurred


@dataclass(frozen=True)
class Inside(Step):
    """Keep ``label`` only within another label or region, grown by ``margin_mm``."""

    label_fields: ClassVar[tuple[str, ...]] = ("label", "within")

    label: str
    within: str
    margin_mm: float = 0.0

    def __post_init__(self) -> None:
        if self.margin_mm < 0:
            raise ValueError(f"margin_mm is 0 or more, not {self.margin_mm}")
        if self.label == self.within:
            raise ValueError(f"a label is always inside itself: {self.label!r}")

    def __call__(self, mask: LabelMap) -> LabelMap:
        """The mask with background where the label lay elsewhere."""
        marked, allowed = mask.where(self.label), mask.where(self.within)
        box = _box(marked | allowed)
        if box is None:
            return mask
        outside = np.zeros(marked.shape, bool)
        outside[box] = marked[box] & ~self._grown(allowed[box], mask)
        return without(mask, outside)

    def _grown(self, allowed: NDArray[np.bool_], mask: LabelMap) -> NDArray[np.bool_]:
        from scipy.ndimage import distance_transform_edt

        if self.margin_mm == 0 or not allowed.any():
            return allowed
        distance = distance_transform_edt(~allowed, sampling=mask.grid.spacing_mm)
        return np.asarray(distance <= self.margin_mm + 1e-6)
