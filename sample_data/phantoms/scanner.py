"""What a scanner makes of a patient: blur, noise, a coil's bias, and a grid of its own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from phantoms import ct, mr
from phantoms.painting import painted, voxel_points
from phantoms.shapes import turned, waves

Affine = NDArray[np.float64]
_SLAB_VOXELS = 4_000_000
"""Voxels painted at once: a full-size scan would not fit with all its coordinates."""


@dataclass(frozen=True)
class Phantom:
    """A scan ``image (X, Y, Z)`` int16, its ``labels`` uint8, and where they lie (RAS+ mm)."""

    image: NDArray[np.int16]
    labels: NDArray[np.uint8]
    affine: Affine


@dataclass(frozen=True)
class Size:
    """Voxels and their lengths in mm; each patient's scan varies around them."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]


CT_SIZES = {
    "small": Size((128, 104, 60), (2.9, 2.9, 4.0)),
    "full": Size((512, 512, 300), (0.75, 0.75, 0.9)),
}
MR_SIZES = {
    "small": Size((92, 108, 64), (2.0, 2.0, 2.6)),
    "full": Size((256, 256, 176), (0.9, 0.9, 1.0)),
}


def _slabs(shape: tuple[int, int, int]) -> Iterator[slice]:
    rows = max(1, _SLAB_VOXELS // (shape[0] * shape[1]))
    return (slice(at, min(at + rows, shape[2])) for at in range(0, shape[2], rows))


def _affine(
    shape: tuple[int, int, int], spacing: NDArray[np.float64], turn: Affine, centre: Affine
) -> Affine:
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing)
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    # As a header holds it, so that a file read back has the very same numbers.
    return affine.astype(np.float32).astype(np.float64)


def _stored(phantom: Phantom, flips: tuple[int, ...]) -> Phantom:
    """The same scan with some axes stored the other way round."""
    turn = np.eye(4)
    for axis in flips:
        turn[axis, axis] = -1
        turn[axis, 3] = phantom.image.shape[axis] - 1
    return Phantom(
        np.ascontiguousarray(np.flip(phantom.image, flips)),
        np.ascontiguousarray(np.flip(phantom.labels, flips)),
        (phantom.affine @ turn).astype(np.float32).astype(np.float64),
    )


def ct_phantom(seed: int, size: str = "small", every_label: bool = False) -> Phantom:
    """The abdominal CT of patient ``seed`` in HU; half of them are stored LPS."""
    chance = np.random.default_rng([seed, 1])
    wanted = CT_SIZES[size]
    patient = ct.Abdomen(chance, every_label)
    spacing = np.asarray(wanted.spacing_mm) * chance.uniform(0.95, 1.05, 3)
    centre = np.array([0.0, -14.0, chance.uniform(-10, 12)])
    affine = _affine(wanted.shape, spacing, turned(chance.uniform(-4, 4, 3)), centre)
    # The gantry sees a straight box: the patient is turned, not the grid.
    upright = _affine(wanted.shape, spacing, np.eye(3), centre)
    parts = patient.parts()
    image = np.empty(wanted.shape, np.float32)
    labels = np.empty(wanted.shape, np.uint8)
    for rows in _slabs(wanted.shape):
        points = voxel_points(affine, wanted.shape, rows)
        image[..., rows], labels[..., rows] = painted(parts, points, float(spacing.mean()), -1000)
    blurred = _blurred(image, 0.55 / spacing)
    deviation = chance.uniform(9, 16)
    noise = _noise(chance, wanted.shape, 0.6, deviation)
    hu = np.clip(np.round(blurred + noise), -1024, 3071).astype(np.int16)
    return _stored(Phantom(hu, labels, upright), (0, 1) if seed % 2 else ())


def mr_phantom(seed: int, size: str = "small") -> Phantom:
    """The brain MR of patient ``seed``, on a grid that is oblique by up to 18 degrees."""
    chance = np.random.default_rng([seed, 2])
    wanted = MR_SIZES[size]
    patient = mr.Head(chance)
    spacing = np.asarray(wanted.spacing_mm) * chance.uniform(0.95, 1.05, 3)
    turn = turned([chance.uniform(8, 18), chance.uniform(-6, 6), chance.uniform(-9, 9)])
    centre = np.array([0.0, 0.0, 2.0]) + chance.uniform(-4, 4, 3)
    affine = _affine(wanted.shape, spacing, turn, centre)
    image = np.empty(wanted.shape, np.float32)
    labels = np.empty(wanted.shape, np.uint8)
    parts = patient.parts()
    bias = waves(chance, 420, 5)
    strength = chance.uniform(0.05, 0.13)
    for rows in _slabs(wanted.shape):
        points = voxel_points(affine, wanted.shape, rows)
        image[..., rows], labels[..., rows] = painted(parts, points, float(spacing.mean()), 6)
        image[..., rows] *= np.exp(np.float32(strength) * bias(points))
    gain = chance.uniform(0.6, 2.4)
    deviation = chance.uniform(9, 17)
    real = _blurred(image, 0.5 / spacing) + _noise(chance, wanted.shape, 0, deviation)
    imaginary = _noise(chance, wanted.shape, 0, deviation)
    counts = np.round(gain * np.hypot(real, imaginary)).astype(np.int16)
    return _stored(Phantom(counts, labels, affine), (0,) if seed % 2 else (0, 1))


def _blurred(image: NDArray[np.float32], sigma: NDArray[np.float64]) -> NDArray[np.float32]:
    blurred: NDArray[np.float32] = gaussian_filter(image, sigma, mode="nearest", truncate=3)
    return blurred


def _noise(
    chance: np.random.Generator, shape: tuple[int, int, int], sigma: float, deviation: float
) -> NDArray[np.float32]:
    noise = np.empty(shape, np.float32)
    for z in range(shape[2]):
        one = chance.standard_normal(shape[:2], np.float32)
        # Reconstruction makes neighbours within a slice alike; slices are independent.
        noise[..., z] = gaussian_filter(one, sigma) if sigma else one
    noise *= deviation / noise.std()
    return noise
