"""Steps about the shape of labels: rough surfaces, and what lies inside what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from medseg.image import LabelMap
from medseg.postprocess.choice import Box, box_of, chosen, number_of, reach, without
from medseg.step import Step

_TRUNCATE = 3.0  # standard deviations that a Gaussian reaches
_TIE = 1e-5  # shares nearer than this are equal, whatever the order of summing makes of them


@dataclass(frozen=True)
class Smooth(Step):
    """Smooth surfaces by a Gaussian of ``radius_mm``, the same in all directions of the world.

    Each label's occupancy is blurred and the greatest wins, the background among them, so that
    labels stay apart; among equals stays what was there. Voxels go from and to the chosen
    ``labels`` (null: every one); between two others nothing changes.
    """

    label_fields: ClassVar[tuple[str, ...]] = ("labels",)

    radius_mm: float
    labels: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.radius_mm <= 0:
            raise ValueError(f"radius_mm is above 0, not {self.radius_mm}")

    def __call__(self, mask: LabelMap) -> LabelMap:
        """The mask with smoother surfaces."""
        wanted = number_of(mask.labels, chosen(mask, self.labels)) > 0
        # Voxels that change lie within two deviations, and see three further.
        box = box_of(wanted[mask.data], reach(mask, (_TRUNCATE + 2) * self.radius_mm))
        if box is None:
            return mask
        old = mask.data[box]
        new = self._winners(old, mask)
        data = mask.data.copy()
        data[box] = np.where(wanted[old] | wanted[new], new, old)
        return mask.with_data(data)

    def _winners(self, old: NDArray[Any], mask: LabelMap) -> NDArray[np.uint16]:
        """The value of the greatest share at each voxel of a box."""
        new = np.zeros(old.shape, np.uint16)
        best = np.zeros(old.shape, np.float32)
        background = np.ones(old.shape, np.float32)
        reached = reach(mask, _TRUNCATE * self.radius_mm)
        for value in np.unique(old[old > 0]):
            marked = old == value
            part = box_of(marked, reached)
            assert part is not None
            share = self._blurred(marked[part], mask)
            background[part] -= share
            share += _TIE * marked[part]
            wins = share > best[part] + _TIE / 2
            best[part][wins] = share[wins]
            new[part][wins] = value
        background += _TIE * (old == 0)
        new[background > best + _TIE / 2] = 0
        return new

    def _blurred(self, marked: NDArray[np.bool_], mask: LabelMap) -> NDArray[np.float32]:
        from scipy.ndimage import gaussian_filter

        sigma = [self.radius_mm / side for side in mask.grid.spacing_mm]
        share: NDArray[np.float32] = gaussian_filter(
            marked.astype(np.float32), sigma, mode="nearest", truncate=_TRUNCATE
        )
        return share


@dataclass(frozen=True)
class Inside(Step):
    """Keep ``label`` only within another label or region, grown by ``margin_mm``.

    What lies elsewhere stays in other regions that hold it, else it becomes background.
    """

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
        """The mask without what of the label lay elsewhere."""
        chosen(mask, (self.label, self.within))
        allowed = mask.where(self.within)
        outside = mask.where(self.label) & ~allowed
        box = box_of(outside)
        if box is None:
            return mask
        removed = outside[box]
        if self.margin_mm > 0:
            removed[removed] = ~self._near(allowed, box, removed, mask)
        return without(mask, box, removed, (self.label,)) if removed.any() else mask

    def _near(
        self, allowed: NDArray[np.bool_], box: Box, asked: NDArray[np.bool_], mask: LabelMap
    ) -> NDArray[np.bool_]:
        """Whether each voxel that is asked for has an allowed one within ``margin_mm``."""
        from scipy.ndimage import binary_erosion
        from scipy.spatial import cKDTree

        start = np.array([side.start for side in box])
        more = reach(mask, self.margin_mm)
        first = np.maximum(start - more, 0)
        x, y, z = (slice(a, b.stop + m) for a, b, m in zip(first, box, more, strict=True))
        around = allowed[x, y, z]
        # The nearest voxel is always one of the surface; and a tree of those takes less room
        # than a map of distances, and knows of oblique and sheared grids.
        surface = np.argwhere(around & ~binary_erosion(around)) + first
        if not len(surface):
            return np.zeros(np.count_nonzero(asked), bool)
        tree = cKDTree(mask.grid.world(surface))
        places = mask.grid.world(np.argwhere(asked) + start)
        distance, _ = tree.query(places, distance_upper_bound=self.margin_mm + 1e-6)
        return np.asarray(np.isfinite(distance))
