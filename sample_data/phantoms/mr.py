"""A FLAIR-like brain MR in arbitrary units: dark fluid, grey matter brighter than white.

x grows to the patient's right, y to the front, z to the head; the origin lies in the middle of
the head.
"""

from __future__ import annotations

import numpy as np

from phantoms.painting import Part
from phantoms.shapes import (
    Distance,
    Points,
    Shape,
    both,
    ellipsoid,
    grown,
    outside,
    rough,
    tube,
    turned,
    union,
    waves,
)

LABELS = {"brain": 1, "ventricles": 2, "lesion": 3}
FLUID, WHITE, GREY = 70.0, 300.0, 385.0


class Head:
    """The parts of one patient; everything random about them comes from ``chance``."""

    def __init__(self, chance: np.random.Generator) -> None:
        self.chance = chance
        self.size = chance.uniform(0.94, 1.06)
        self.bend = [waves(chance, 150, 6) for _ in range(3)]
        self.scalp = self._bent(
            union(
                ellipsoid((0, 0, 8), self.size * np.array([79, 99, 84])),
                ellipsoid((0, 34, -62), (52, 52, 60)),
                ellipsoid((0, -28, -95), (50, 46, 70)),
                blend_mm=22,
            )
        )
        self.skull = self._bent(ellipsoid((0, -2, 12), self.size * np.array([73, 92, 76])))
        self.cerebrum = self._cerebrum()
        self.ventricles = self._ventricles()
        self.lesions = self._lesions()

    def parts(self) -> list[Part]:
        """Everything, in the order in which it is painted."""
        fat, marrow = waves(self.chance, 30), waves(self.chance, 12)
        return [
            Part(self.scalp, 330.0, texture=lambda p: 25 * fat(p)),
            Part(grown(self.scalp, -6.5), 190.0, texture=lambda p: 18 * fat(p)),
            *self._face(),
            Part(grown(self.skull, 6.5), 40.0),
            Part(
                both(grown(self.skull, 4.3), outside(grown(self.skull, 2.2))),
                150.0,
                texture=lambda p: 30 * marrow(p),
            ),
            Part(self.skull, FLUID, 0),
            Part(self._base(), 125.0, 0, lambda p: 55 * marrow(p), edge_mm=3),
            *self._hindbrain(),
            *self._forebrain(),
            *self._tumours(),
        ]

    def _bent(self, shape: Shape) -> Shape:
        def distance(points: Points) -> Distance:
            moved = np.stack([field(points) for field in self.bend])
            return shape(points + np.float32(3) * moved)

        return distance

    def _cerebrum(self) -> Shape:
        halves = union(
            ellipsoid((0, 0, 22), self.size * np.array([67, 86, 62])),
            ellipsoid((44, 12, -8), (24, 40, 26)),
            ellipsoid((-44, 12, -8), (24, 40, 26)),
            blend_mm=10,
        )
        return both(self._bent(halves), grown(self.skull, -2.5))

    def _ventricles(self) -> Shape:
        wide = self.chance.uniform(0.85, 1.35)
        horns = []
        for side in (-1, 1):
            line = [(9, 36, 22), (8, 14, 33), (11, -14, 33), (19, -38, 22), (27, -30, 4)]
            points = [(side * x * np.sqrt(wide), y, z) for x, y, z in line]
            horns.append(tube(points[:3], 5.6 * wide))
            horns.append(tube(points[2:], 5.0 * wide))
        third = ellipsoid((0, 2, 12), (2.6 * wide, 13, 12))
        return self._bent(rough(union(*horns, third, blend_mm=4), waves(self.chance, 30), 0.8))

    def _lesions(self) -> list[tuple[Shape, float]]:
        found: list[tuple[Shape, float]] = []
        deep = both(grown(self.cerebrum, -9), outside(grown(self.ventricles, 7)))
        for _ in range(self.chance.integers(1, 4)):
            radius = float(np.exp(self.chance.uniform(np.log(6.5), np.log(16))))
            tries = self.chance.uniform([-55, -70, -10], [55, 70, 70], (3000, 3))
            inside = np.flatnonzero(deep(tries.T.astype(np.float32)) < -0.4 * radius)
            centre = tries[inside[0] if len(inside) else 0]
            lump = rough(
                ellipsoid(centre, radius * self.chance.uniform(0.8, 1.2, 3)),
                waves(self.chance, 1.8 * radius),
                0.15 * radius,
            )
            kept = both(lump, grown(self.cerebrum, -3), outside(grown(self.ventricles, 1.5)))
            found.append((kept, radius))
        return found

    def _face(self) -> list[Part]:
        eyes = [ellipsoid((side * 31, 78, -32), (12, 12, 12)) for side in (-1, 1)]
        nose = ellipsoid((0, 78, -62), (13, 30, 22))
        throat = ellipsoid((0, 26, -96), (13, 11, 44))
        return [
            *(Part(grown(eye, 6), 300.0) for eye in eyes),
            *(Part(eye, 60.0) for eye in eyes),
            Part(nose, 25.0),
            Part(throat, 12.0),
        ]

    def _base(self) -> Shape:
        """Bone and soft tissue under the brain, before the brain stem and the cerebellum."""

        def below(points: Points) -> Distance:
            floor = -24 - 0.0035 * (points[0] ** 2) + 10 * np.clip(points[1] / 60, -1, 1)
            return np.maximum(points[2] - floor, -22 - points[1])

        return both(below, grown(self.skull, 1), grown(outside(self.cerebrum), -2.5))

    def _hindbrain(self) -> list[Part]:
        brain = LABELS["brain"]
        lobes = union(
            ellipsoid((24, -50, -42), (31, 27, 23)),
            ellipsoid((-24, -50, -42), (31, 27, 23)),
            blend_mm=8,
        )
        shape = both(self._bent(lobes), grown(self.skull, 6))

        def leaves(points: Points) -> Distance:
            radius = np.sqrt((points[1] + 26) ** 2 + (points[2] + 34) ** 2)
            return np.asarray(34 * np.cos(2 * np.pi * radius / 7.5), np.float32)

        stem = self._bent(tube([(0, -8, -4), (0, -16, -34), (0, -24, -70), (0, -32, -130)], 11.5))
        bulge = self._bent(ellipsoid((0, -9, -30), (16, 13, 14)))
        fourth = self._bent(ellipsoid((0, -31, -42), (7, 5, 10)))
        inside = both(union(stem, bulge, blend_mm=6), grown(self.scalp, -16))
        return [
            Part(grown(shape, 2.5), FLUID, 0),
            Part(shape, GREY - 30, brain, leaves),
            Part(grown(inside, 3.5), FLUID, None),
            Part(shape, GREY - 30, brain, leaves),
            Part(inside, WHITE - 5, brain),
            Part(fourth, FLUID, LABELS["ventricles"]),
        ]

    def _forebrain(self) -> list[Part]:
        """A folded ribbon of grey matter around white, deep nuclei, and fluid in the sulci."""
        folds, bends = waves(self.chance, 26, 14), waves(self.chance, 17, 12)
        whole = self.cerebrum

        def depth_of_sulci(points: Points) -> Distance:
            """Distance to the nearest sulcus: where a folded field crosses zero."""
            field = folds(points) + 0.55 * bends(points)
            return np.abs(field) * np.float32(4.6)

        def sulci(points: Points) -> Distance:
            depth = -whole(points)
            fissure = np.abs(points[0]) - np.where(points[2] > 12, 1.5, -1.0)
            cut = np.maximum(depth_of_sulci(points) - 1.2, depth - 15)
            return np.minimum(cut, np.maximum(fissure, 24 - points[2] - 0.35 * np.abs(points[1])))

        def white(points: Points) -> Distance:
            depth = -whole(points)
            near_sulcus = np.where(depth < 18, depth_of_sulci(points), 99)
            fissure = np.where(points[2] > 10, np.abs(points[0]), 99)
            return np.asarray(4.4 - np.minimum.reduce([depth, near_sulcus, fissure]), np.float32)

        tissue = both(whole, outside(sulci))
        brain = LABELS["brain"]
        nuclei = [
            self._bent(ellipsoid((side * x, y, z), radii, turned((0, side * 10, side * -18))))
            for side in (-1, 1)
            for x, y, z, radii in ((14, -8, 16, (9, 14, 9)), (25, 8, 14, (7, 17, 11)))
        ]
        callosum = self._bent(ellipsoid((0, 2, 36), (15, 40, 5)))
        grain = waves(self.chance, 10)
        return [
            Part(whole, FLUID, brain),
            Part(tissue, GREY, brain, lambda p: 8 * grain(p)),
            Part(both(white, whole), WHITE, brain, lambda p: 8 * grain(p)),
            Part(callosum, WHITE - 20, brain),
            *(Part(one, GREY - 25, brain) for one in nuclei),
            Part(self.ventricles, FLUID, LABELS["ventricles"]),
        ]

    def _tumours(self) -> list[Part]:
        parts = []
        for shape, radius in self.lesions:
            bright = self.chance.uniform(500, 590)
            speckle = waves(self.chance, 6)
            grain: Shape = lambda p, f=speckle: 22 * f(p)  # type: ignore[misc]  # noqa: E731
            parts += [
                Part(shape, bright - 40, LABELS["lesion"], grain, edge_mm=1.5),
                Part(grown(shape, -0.3 * radius), bright + 50, None, grain, edge_mm=2),
            ]
            if radius > 11:
                parts.append(Part(grown(shape, -0.62 * radius), bright - 210, None, edge_mm=2))
        return parts
