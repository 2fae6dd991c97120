"""An abdominal CT in HU, portal-venous phase: from the lungs' bases to below the kidneys.

x grows to the patient's right, y to the front, z to the head; the origin lies in the middle of
the body, before the spine.
"""

from __future__ import annotations

from dataclasses import replace

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


class Abdomen:
    """The parts of one patient; everything random about them comes from ``chance``."""

    def __init__(self, chance: np.random.Generator, every_label: bool = False) -> None:
        self.chance = chance
        self.more = MORE_LABELS if every_label else {}
        self.wide = chance.uniform(148, 178)
        self.deep = self.wide * chance.uniform(0.64, 0.74)
        self.fat = chance.uniform(9, 24)
        self.size = chance.uniform(0.92, 1.08)
        self.bend = [waves(chance, 190, 6) for _ in range(3)]
        self.cavity = self._trunk(self.fat + 13)
        self.diaphragm = self._diaphragm()
        self.liver = self._liver()
        self.tumours = self._tumours()

    def parts(self) -> list[Part]:
        """Everything, in the order in which it is painted."""
        return [*self._table(), *self._wall(), *self._bones(), *self._organs(), *self._lungs()]

    def _at(self, x: float, y: float, z: float, slack_mm: float = 5) -> np.ndarray:
        return self.size * np.array([x, y, z]) + self.chance.uniform(-slack_mm, slack_mm, 3)

    def _bent(self, shape: Shape, height_mm: float) -> Shape:
        """A shape as this patient has it: pushed about by a slow field of displacements."""

        def distance(points: Points) -> Distance:
            moved = np.stack([field(points) for field in self.bend])
            return shape(points + np.float32(height_mm) * moved)

        return distance

    def _trunk(self, depth_mm: float) -> Shape:
        """The body's outline, ``depth_mm`` below the skin."""
        wide, deep = self.wide - depth_mm, self.deep - depth_mm

        def distance(points: Points) -> Distance:
            x, y = np.abs(points[0]) / wide, np.abs(points[1]) / deep
            # A superellipse: flatter in front and behind than an ellipse.
            radius = (x**2.4 + y**2.4) ** (1 / 2.4)
            return (radius - 1) * np.float32(min(wide, deep))

        return self._bent(distance, 3.0)

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

    def _liver(self) -> Shape:
        right = ellipsoid(self._at(68, 2, 8), self.size * np.array([72, 78, 78]))
        left = ellipsoid(
            self._at(8, 42, 30), self.size * np.array([72, 42, 34]), turned((0, -14, 0))
        )
        hollow = ellipsoid(self._at(38, -12, -62), self.size * np.array([62, 62, 56]))
        whole = union(right, left, blend_mm=24)
        shape = both(whole, outside(hollow), grown(self.cavity, -3))
        shape = both(rough(shape, waves(self.chance, 70), 3.5), grown(outside(self.diaphragm), -3))
        return self._bent(shape, 5.0)

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
        muscle = self._trunk(self.fat)
        inner = self.cavity
        mesentery = waves(self.chance, 18)
        return [
            Part(self._trunk(0), 5.0),
            Part(self._trunk(2.2), -102.0, texture=lambda p: 6 * streaks(p)),
            Part(
                rough(muscle, waves(self.chance, 60), 2.0), 58.0, texture=lambda p: 5 * streaks(p)
            ),
            Part(inner, -92.0, texture=lambda p: 14 * mesentery(p)),
        ]

    def _bones(self) -> list[Part]:
        back = -self.deep + 0.52 * self.deep
        body_at = np.array([0.0, back, 0.0])
        lean = waves(self.chance, 400, 3)

        def column(points: Points) -> Distance:
            x = points[0] - 3 * lean(points)
            radius = np.sqrt((x / 22) ** 2 + ((points[1] - body_at[1]) / 17) ** 2)
            return (radius - 1) * 18

        start = self.chance.uniform(0, 32)

        def gap(points: Points) -> Distance:
            level = np.abs(np.mod(points[2] + start, 32) - 16)
            return np.maximum(column(points) - 1, level - 3.5)

        arch_at = body_at - (0, 30, 0)
        arch = union(
            lambda p: np.sqrt(p[0] ** 2 + (p[1] - arch_at[1]) ** 2) - np.float32(17),
            ellipsoid((0, arch_at[1] - 16, 0), (5, 20, 1e4)),
            blend_mm=4,
        )

        def processes(points: Points) -> Distance:
            """Transverse processes: a bar to either side, one a vertebra."""
            level = np.mod(points[2] + start, 32) - 16
            thin = np.hypot(level / 1.5, points[1] - arch_at[1] + 2) - 5.5
            return np.maximum(thin, np.abs(points[0]) - 46)

        canal = ellipsoid((0, arch_at[1] + 4, 0), (10, 8.5, 1e4))
        marrow = waves(self.chance, 9)
        spine = LABELS["spine"]
        bone = union(column, arch, processes, blend_mm=3)
        psoas = [
            rough(ellipsoid((s * 40, back + 2, -70), (20, 19, 95)), waves(self.chance, 50), 2)
            for s in (-1, 1)
        ]
        erector = [ellipsoid((s * 36, arch_at[1] - 12, 0), (29, 19, 1e4)) for s in (-1, 1)]
        near_wall = grown(self._trunk(self.fat), 2)
        return [
            *(Part(both(m, near_wall), 60.0) for m in (*psoas, *erector)),
            Part(bone, 420.0, spine),
            Part(grown(bone, -2.6), 190.0, spine, texture=lambda p: 28 * marrow(p)),
            Part(gap, 85.0, spine),
            Part(canal, 22.0, 0),
            *self._ribs(),
        ]

    def _ribs(self) -> list[Part]:
        shell = self._trunk(self.fat + 8)
        first = self.chance.uniform(0, 26)
        deep, wide = self.deep, self.wide

        def rib(points: Points) -> Distance:
            # Ribs run down from the spine to the front; none reach the flanks' lowest part.
            forward = points[1] / deep
            level = np.abs(np.mod(points[2] + 34 * forward + first, 26) - 13)
            band = np.hypot(level, 1.35 * shell(points)) - 5.2
            end = points[1] - deep * 0.55
            low = (-38 - 20 * np.abs(points[0]) / wide) - points[2]
            return np.maximum.reduce([band, end, low, 24 - np.abs(points[0])]).astype(np.float32)

        label = self.more.get("ribs")
        return [Part(rib, 380.0, label), Part(grown(rib, -2.2), 180.0, label)]

    def _organs(self) -> list[Part]:
        fine, coarse = waves(self.chance, 12), waves(self.chance, 45)
        liver_hu = self.chance.uniform(98, 118)
        grain = lambda p: 2.5 * fine(p) + 3 * coarse(p)  # noqa: E731 - a field, not a function
        parts = [
            *self._gut(),
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
        hilum = self._at(28, 2, 0, 3)
        branches = []
        for _ in range(9):
            end = self._inside_liver(6)
            middle = (hilum + end) / 2 + self.chance.uniform(-9, 9, 3)
            branches.append(tube([hilum, middle, end], self.chance.uniform(2.0, 3.8)))
        return branches

    def _spleen(self, grain: Shape) -> list[Part]:
        whole = ellipsoid(
            self._at(-100, -26, 2), self.size * np.array([35, 52, 52]), turned((12, 0, 18))
        )
        hilum = ellipsoid(self._at(-60, -4, 0), self.size * np.array([27, 34, 40]))
        shape = both(
            rough(both(whole, outside(hilum)), waves(self.chance, 60), 2.5),
            grown(self.cavity, -3),
            grown(outside(self.diaphragm), -3),
        )
        shape = both(self._bent(shape, 4.0), grown(outside(self.liver), -3))
        return [Part(shape, self.chance.uniform(112, 130), LABELS["spleen"], grain)]

    def _kidneys(self) -> list[Part]:
        parts = []
        cortex = self.chance.uniform(165, 195)
        back = -0.36 * self.deep
        for side, name in ((1, "kidney_right"), (-1, "kidney_left")):
            centre = self._at(side * 66, back, -42 if side > 0 else -30, 4)
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
        pear = ellipsoid(self._at(52, 42, -28), (15, 17, 26), turned((25, 10, 0)))
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

    def _gut(self) -> list[Part]:
        stomach = both(
            rough(
                union(
                    ellipsoid(self._at(-60, 32, 24), (40, 38, 46)),
                    ellipsoid(self._at(-22, 52, -2), (42, 24, 24)),
                    blend_mm=20,
                ),
                waves(self.chance, 55),
                3,
            ),
            grown(self.cavity, -3),
            grown(outside(self.diaphragm), -3),
        )
        parts = self._hollow(stomach, self.more.get("stomach", 0), self.chance.uniform(38, 60))
        for _ in range(34):
            centre = self.chance.uniform([-98, -30, -160], [98, 70, -22])
            loop = rough(
                ellipsoid(
                    centre,
                    self.chance.uniform([16, 11, 11], [34, 17, 19]),
                    turned(self.chance.uniform(-60, 60, 3)),
                ),
                waves(self.chance, 24),
                2.2,
            )
            level = centre[1] + self.chance.uniform(0, 50)
            parts += self._hollow(
                both(loop, grown(self.cavity, -4)), self.more.get("bowel", 0), float(level)
            )
        return parts + self._colon()

    def _colon(self) -> list[Part]:
        """Up the right flank, across the front, down the left flank; stool with some gas."""
        line = [
            (102, -6, -200), (106, -10, -90), (92, 18, -52), (40, 62, -66), (-30, 66, -58),
            (-88, 26, -14), (-108, -22, -40), (-106, -20, -200),
        ]  # fmt: skip
        bent = [self._at(*place, slack_mm=6) for place in line]
        course = rough(tube(bent, self.chance.uniform(17, 22)), waves(self.chance, 26), 3.5)
        shape = both(self._bent(course, 5), grown(self.cavity, -4))
        stool = waves(self.chance, 11)
        parts = self._hollow(shape, self.more.get("bowel", 0), 54.0)
        return [parts[0], replace(parts[1], texture=lambda p: 45 * stool(p)), parts[2]]

    def _hollow(self, shape: Shape, label: int, level: float) -> list[Part]:
        """A wall, contents, and gas above (in front of) a level, as the patient lies."""
        above: Shape = lambda p: (level - p[1]).astype(np.float32)  # noqa: E731
        return [
            Part(shape, 52.0, label),
            Part(grown(shape, -3), self.chance.uniform(8, 32), label),
            Part(both(grown(shape, -3), above), -880.0, label),
        ]

    def _lungs(self) -> list[Part]:
        chest = grown(self._trunk(self.fat + 18), 0)
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
