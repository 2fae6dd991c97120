"""Stomach and bowel: walls with fluid, gas or stool within."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from phantoms.body import Body
from phantoms.painting import Part
from phantoms.shapes import (
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


def gut(body: Body) -> list[Part]:
    """Stomach, loops of small bowel and colon."""
    stomach = both(
        rough(
            union(
                ellipsoid(body.at(-60, 32, 24), (40, 38, 46)),
                ellipsoid(body.at(-22, 52, -2), (42, 24, 24)),
                blend_mm=20,
            ),
            waves(body.chance, 55),
            3,
        ),
        grown(body.cavity, -3),
        grown(outside(body.diaphragm), -3),
    )
    parts = _hollow(body, stomach, body.more.get("stomach", 0), body.chance.uniform(38, 60))
    for _ in range(34):
        centre = body.chance.uniform([-98, -30, -160], [98, 70, -22])
        loop = rough(
            ellipsoid(
                centre,
                body.chance.uniform([16, 11, 11], [34, 17, 19]),
                turned(body.chance.uniform(-60, 60, 3)),
            ),
            waves(body.chance, 24),
            2.2,
        )
        level = centre[1] + body.chance.uniform(0, 50)
        parts += _hollow(
            body, both(loop, grown(body.cavity, -4)), body.more.get("bowel", 0), float(level)
        )
    return parts + _colon(body)


def _colon(body: Body) -> list[Part]:
    """Up the right flank, across the front, down the left flank; stool with some gas."""
    line = [
        (102, -6, -200), (106, -10, -90), (92, 18, -52), (40, 62, -66), (-30, 66, -58),
        (-88, 26, -14), (-108, -22, -40), (-106, -20, -200),
    ]  # fmt: skip
    bent = [body.at(*place, slack_mm=6) for place in line]
    course = rough(tube(bent, body.chance.uniform(17, 22)), waves(body.chance, 26), 3.5)
    shape = both(body.bent(course, 5), grown(body.cavity, -4))
    stool = waves(body.chance, 11)
    parts = _hollow(body, shape, body.more.get("bowel", 0), 54.0)
    return [parts[0], replace(parts[1], texture=lambda p: 45 * stool(p)), parts[2]]


def _hollow(body: Body, shape: Shape, label: int, level: float) -> list[Part]:
    """A wall, contents, and gas above (in front of) a level, as the patient lies."""
    above: Shape = lambda p: (level - p[1]).astype(np.float32)  # noqa: E731
    return [
        Part(shape, 52.0, label),
        Part(grown(shape, -3), body.chance.uniform(8, 32), label),
        Part(both(grown(shape, -3), above), -880.0, label),
    ]
