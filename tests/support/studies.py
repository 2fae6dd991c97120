"""Small studies on disk: a bright ball in noise, its mask, and pipelines that find it."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

BALL = """\
name: ball
labels: {ball: 1}
input: {path: images, reference: labels}
preprocess:
  - orientation: {axcodes: RAS}
inference:
  - threshold: {minimum: 50}
postprocess:
  - keep_largest
"""


def ball(seed: int, shape: tuple[int, int, int] = (20, 22, 18)) -> tuple[np.ndarray, np.ndarray]:
    """An image with a ball of 100 in noise, and its mask."""
    chance = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"), -1)
    centre = np.asarray(shape) / 2 + chance.uniform(-2, 2, 3)
    mask = ((grid - centre) ** 2).sum(-1) < chance.uniform(4, 7) ** 2
    image = np.where(mask, 100, 0) + chance.normal(0, 8, shape)
    return image.astype(np.float32), mask.astype(np.uint8)


def save(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> Path:
    """Write NIfTI with both forms set, as a scanner's converter does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if affine is None:
        affine = np.diag([-1.5, -1.5, 2.0, 1.0])
        affine[:3, 3] = (40, 30, -25)
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    nib.save(image, path)
    return path


def ball_studies(folder: Path, count: int) -> Path:
    """``count`` studies in images/ and labels/, and ball.yaml beside them; its path."""
    for number in range(count):
        image, mask = ball(number)
        save(folder / "images" / f"study_{number:02d}.nii.gz", image)
        save(folder / "labels" / f"study_{number:02d}.nii.gz", mask)
    path = folder / "ball.yaml"
    path.write_text(BALL)
    return path
