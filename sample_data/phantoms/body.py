"""A patient's frame, which the organs and the bones of the abdomen are fitted into.

x grows to the patient's right, y to the front, z to the head; the origin lies in the middle of
the body, before the spine.
"""

from __future__ import annotations

import numpy as np

from phantoms.shapes import Distance, Points, Shape, waves

LABELS = {"liver": 1, "tumour": 2, "spleen": 3, "kidney_right": 4, "kidney_left": 5, "spine": 6}
MORE_LABELS = {
    "aorta": 7,
    "inferior_vena_cava": 8,
    "stomach": 9,
    "gallbladder": 10,
    "lung_right": 11,
    "lung_left": 12,
    "ribs": 13,
    "bowel": 14,
}


class Body:
    """Build and outline of one patient; everything random about them comes from ``chance``."""

    def __init__(self, chance: np.random.Generator, every_label: bool = False) -> None:
        self.chance = chance
        self.more = MORE_LABELS if every_label else {}
        self.wide = chance.uniform(148, 178)
        self.deep = self.wide * chance.uniform(0.64, 0.74)
        self.fat = chance.uniform(9, 24)
        self.size = chance.uniform(0.92, 1.08)
        self.bend = [waves(chance, 190, 6) for _ in range(3)]
        self.cavity = self.trunk(self.fat + 13)
        self.diaphragm = self._diaphragm()

    def at(self, x: float, y: float, z: float, slack_mm: float = 5) -> np.ndarray:
        """A place that grows with the patient and differs by some mm."""
        return self.size * np.array([x, y, z]) + self.chance.uniform(-slack_mm, slack_mm, 3)

    def bent(self, shape: Shape, height_mm: float) -> Shape:
        """A shape as this patient has it: pushed about by a slow field of displacements."""

        def distance(points: Points) -> Distance:
            moved = np.stack([field(points) for field in self.bend])
            return shape(points + np.float32(height_mm) * moved)

        return distance

    def trunk(self, depth_mm: float) -> Shape:
        """The body's outline, ``depth_mm`` below the skin."""
        wide, deep = self.wide - depth_mm, self.deep - depth_mm

        def distance(points: Points) -> Distance:
            x, y = np.abs(points[0]) / wide, np.abs(points[1]) / deep
            # A superellipse: flatter in front and behind than an ellipse.
            radius = (x**2.4 + y**2.4) ** (1 / 2.4)
            return (radius - 1) * np.float32(min(wide, deep))

        return self.bent(distance, 3.0)

    def _diaphragm(self) -> Shape:
        """Above the domes of the diaphragm; the right one stands higher."""
        top = self.chance.uniform(62, 78)
        higher = self.chance.uniform(8, 16)
        wide, deep = self.wide, self.deep

        def distance(points: Points) -> Distance:
            across, back = points[0] / wide, points[1] / deep
            dome = top + higher * np.tanh(4 * across) - 75 * (across**2 + 0.8 * back**2)
            middle = 12 * np.exp(-((across / 0.16) ** 2))
            return np.asarray((dome - middle - points[2]) * 0.75, np.float32)

        return distance
