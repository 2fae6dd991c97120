"""An abdominal CT in HU, portal-venous phase: from the lungs' bases to below the kidneys."""

from __future__ import annotations

import numpy as np

from phantoms.body import LABELS, MORE_LABELS, Body
from phantoms.bones import bones
from phantoms.gut import gut
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

__all__ = ["LABELS", "MORE_LABELS", "Abdomen"]


class Abdomen(Body):
    """The organs of one patient, in their frame."""

    def __init__(self, chance: np.random.Generator, every_label: bool = False) -> None:
        super().__init__(chance, every_label)
        self.liver = self._liver()
        self.tumours = self._tumours()

    def parts(self) -> list[Part]:
        """Everything, in the order in which it is painted."""
        return [*self._table(), *self._wall(), *bones(self), *self._organs(), *self._lungs()]

    def _liver(self) -> Shape:
        right = ellipsoid(self.at(68, 2, 8), self.size * np.array([72, 78, 78]))
        left = ellipsoid(
            self.at(8, 42, 30), self.size * np.array([72, 42, 34]), turned((0, -14, 0))
        )
        hollow = ellipsoid(self.at(38, -12, -62), self.size * np.array([62, 62, 56]))
        whole = union(right, left, blend_mm=24)
        shape = both(whole, outside(hollow), grown(self.cavity, -3))
        shape = both(rough(shape, waves(self.chance, 70), 3.5), grown(outside(self.diaphragm), -3))
        return self.bent(shape, 5.0)

    def _inside_liver(self, reach_mm: float) -> np.ndarray:
        """A place in the liver that is at least ``reach_mm`` deep, or the deepest of many."""
        tries = self.chance.uniform([-50, -70, -60], [150, 85, 85], (4000, 3)).astype(np.float32)
        depth = -self.liver(tries.T)
        deep = np.flatnonzero(depth > reach_mm)
        return tries[self.chance.choice(deep) if len(deep) else int(depth.argmax())]

    def _tumours(self) -> list[Shape]:
        found: list[Shape] = []
        for _ in range(self.chance.integers(1, 5)):
            radius = float(np.exp(self.chance.uniform(np.log(8.5), np.log(25))))
            centre = self._inside_liver(0.75 * radius)
            radii = radius * self.chance.uniform(0.85, 1.15, 3)
            lump = rough(ellipsoid(centre, radii), waves(self.chance, 2.2 * radius), 0.12 * radius)
            found.append(both(lump, grown(self.liver, -1)))
        return found

    def _table(self) -> list[Part]:
        deep = self.deep

        def top(points: Points) -> Distance:
            surface = -deep - 5 + (points[0] / 190) ** 2 * 22
            return np.maximum(np.abs(points[1] - surface + 9) - 6, np.abs(points[0]) - 205)

        def core(points: Points) -> Distance:
            surface = -deep - 5 + (points[0] / 190) ** 2 * 22
            return np.maximum(np.abs(points[1] - surface + 9) - 4.5, np.abs(points[0]) - 203)

        return [Part(top, -120.0), Part(core, -760.0)]

    def _wall(self) -> list[Part]:
        streaks = waves(self.chance, 26)
        muscle = self.trunk(self.fat)
        inner = self.cavity
        mesentery = waves(self.chance, 18)
        return [
            Part(self.trunk(0), 5.0),
            Part(self.trunk(2.2), -102.0, texture=lambda p: 6 * streaks(p)),
            Part(
                rough(muscle, waves(self.chance, 60), 2.0), 58.0, texture=lambda p: 5 * streaks(p)
            ),
            Part(inner, -92.0, texture=lambda p: 14 * mesentery(p)),
        ]

    def _organs(self) -> list[Part]:
        fine, coarse = waves(self.chance, 12), waves(self.chance, 45)
        liver_hu = self.chance.uniform(98, 118)
        grain = lambda p: 2.5 * fine(p) + 3 * coarse(p)  # noqa: E731 - a field, not a function
        parts = [
            *gut(self),
            *self._vessels(),
            Part(self.liver, liver_hu, LABELS["liver"], grain),
            *(Part(both(v, grown(self.liver, -4)), liver_hu + 32) for v in self._branches()),
        ]
        for tumour in self.tumours:
            dark = liver_hu - self.chance.uniform(36, 62)
            parts += [
                Part(tumour, dark + 9, LABELS["tumour"], grain, edge_mm=1.5),
                Part(grown(tumour, -4), dark, None, grain, edge_mm=4),
            ]
        return [*parts, *self._spleen(grain), *self._kidneys(), *self._gallbladder()]

    def _branches(self) -> list[Shape]:
        hilum = self.at(28, 2, 0, 3)
        branches = []
        for _ in range(9):
            end = self._inside_liver(6)
            middle = (hilum + end) / 2 + self.chance.uniform(-9, 9, 3)
            branches.append(tube([hilum, middle, end], self.chance.uniform(2.0, 3.8)))
        return branches

    def _spleen(self, grain: Shape) -> list[Part]:
        whole = ellipsoid(
            self.at(-100, -26, 2), self.size * np.array([35, 52, 52]), turned((12, 0, 18))
        )
        hilum = ellipsoid(self.at(-60, -4, 0), self.size * np.array([27, 34, 40]))
        shape = both(
            rough(both(whole, outside(hilum)), waves(self.chance, 60), 2.5),
            grown(self.cavity, -3),
            grown(outside(self.diaphragm), -3),
        )
        shape = both(self.bent(shape, 4.0), grown(outside(self.liver), -3))
        return [Part(shape, self.chance.uniform(112, 130), LABELS["spleen"], grain)]

    def _kidneys(self) -> list[Part]:
        parts = []
        cortex = self.chance.uniform(165, 195)
        back = -0.36 * self.deep
        for side, name in ((1, "kidney_right"), (-1, "kidney_left")):
            centre = self.at(side * 66, back, -42 if side > 0 else -30, 4)
            lean = turned((8, side * -12, side * 24))
            bean = ellipsoid(centre, self.size * np.array([27, 24, 52]), lean)
            dent = ellipsoid(centre - np.array([side * 28, -6, 0]), (11, 12, 14), lean)
            shape = rough(both(bean, outside(dent)), waves(self.chance, 40), 1.8)
            inner = ellipsoid(centre - np.array([side * 3, 0, 0]), (17, 14, 38), lean)
            sinus = ellipsoid(centre - np.array([side * 12, -3, 0]), (9, 8, 20), lean)
            lumps = waves(self.chance, 13)
            pyramids = rough(inner, lumps, 5.0)
            # Fat keeps the kidney from the liver; the sinus counts as kidney.
            parts += [
                Part(both(grown(shape, 5), self.cavity), -98.0, 0),
                Part(shape, cortex, LABELS[name]),
                Part(both(pyramids, grown(shape, -5)), cortex - 45),
                Part(both(sinus, grown(shape, -3)), -45.0),
            ]
        return parts

    def _gallbladder(self) -> list[Part]:
        pear = ellipsoid(self.at(52, 42, -28), (15, 17, 26), turned((25, 10, 0)))
        shape = both(pear, grown(self.cavity, -4))
        label = self.more.get("gallbladder", 0)
        return [Part(grown(shape, 1.5), 50.0, label), Part(shape, 9.0, label)]

    def _vessels(self) -> list[Part]:
        back = -0.25 * self.deep
        line = [(-9, back, -200), (-10, back + 2, 0), (-12, back - 8, 90), (-14, back - 14, 200)]
        cava = [(19, back + 2, -200), (20, back + 3, 0), (24, back + 12, 60), (20, back + 22, 200)]
        enhanced = self.chance.uniform(145, 180)
        label = self.more.get
        return [
            Part(tube(line, 11.5), enhanced, label("aorta")),
            Part(tube(cava, 12.0), enhanced - 18, label("inferior_vena_cava")),
        ]

    def _lungs(self) -> list[Part]:
        chest = grown(self.trunk(self.fat + 18), 0)
        heart = union(
            ellipsoid((-18, 28, 150), (62, 52, 62)),
            lambda p: (np.abs(p[0]) - 26).astype(np.float32),
            blend_mm=12,
        )
        texture = waves(self.chance, 14)
        parts = []
        for side, name in ((1, "lung_right"), (-1, "lung_left")):
            half: Shape = lambda p, s=side: (-s * p[0]).astype(np.float32)  # type: ignore[misc]  # noqa: E731
            shape = both(chest, grown(self.diaphragm, -2), outside(heart), half)
            parts.append(
                Part(shape, -835.0, self.more.get(name, 0), lambda p: 26 * np.abs(texture(p)))
            )
        return parts
