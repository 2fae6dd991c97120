"""Bones of the trunk: a shell brighter than the marrow within."""

from __future__ import annotations

import numpy as np

from phantoms.body import LABELS, Body
from phantoms.painting import Part
from phantoms.shapes import Distance, Points, both, ellipsoid, grown, rough, union, waves


def bones(body: Body) -> list[Part]:
    """Spine and ribs, and the muscles along the spine."""
    back = -body.deep + 0.52 * body.deep
    body_at = np.array([0.0, back, 0.0])
    lean = waves(body.chance, 400, 3)

    def column(points: Points) -> Distance:
        x = points[0] - 3 * lean(points)
        radius = np.sqrt((x / 22) ** 2 + ((points[1] - body_at[1]) / 17) ** 2)
        return (radius - 1) * 18

    start = body.chance.uniform(0, 32)

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
    marrow = waves(body.chance, 9)
    spine = LABELS["spine"]
    bone = union(column, arch, processes, blend_mm=3)
    psoas = [
        rough(ellipsoid((s * 40, back + 2, -70), (20, 19, 95)), waves(body.chance, 50), 2)
        for s in (-1, 1)
    ]
    erector = [ellipsoid((s * 36, arch_at[1] - 12, 0), (29, 19, 1e4)) for s in (-1, 1)]
    near_wall = grown(body.trunk(body.fat), 2)
    return [
        *(Part(both(m, near_wall), 60.0) for m in (*psoas, *erector)),
        Part(bone, 420.0, spine),
        Part(grown(bone, -2.6), 190.0, spine, texture=lambda p: 28 * marrow(p)),
        Part(gap, 85.0, spine),
        Part(canal, 22.0, 0),
        *_ribs(body),
    ]


def _ribs(body: Body) -> list[Part]:
    shell = body.trunk(body.fat + 8)
    first = body.chance.uniform(0, 26)
    deep, wide = body.deep, body.wide

    def rib(points: Points) -> Distance:
        # Ribs run down from the spine to the front; none reach the flanks' lowest part.
        forward = points[1] / deep
        level = np.abs(np.mod(points[2] + 34 * forward + first, 26) - 13)
        band = np.hypot(level, 1.35 * shell(points)) - 5.2
        end = points[1] - deep * 0.55
        low = (-38 - 20 * np.abs(points[0]) / wide) - points[2]
        return np.maximum.reduce([band, end, low, 24 - np.abs(points[0])]).astype(np.float32)

    label = body.more.get("ribs")
    return [Part(rib, 380.0, label), Part(grown(rib, -2.2), 180.0, label)]
