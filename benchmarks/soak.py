"""Thousands of tiny studies in one run: memory, descriptors, and a process each beside it.

    python benchmarks/soak.py --studies 5000 [--workers 2]

Prints studies a second, the slope and the growth of the resident memory after the first tenth, the
lowest and highest number of open descriptors, and how long a process for each study takes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np

from medseg.pipeline import Pipeline, Site, load_pipeline
from medseg.run.events import Event, StudyDone
from medseg.run.predict import predict

PIPELINE = """\
name: soak
labels: {ball: 1}
input: {path: images}
preprocess:
  - orientation: {axcodes: RAS}
inference:
  - threshold: {minimum: 50}
postprocess:
  - keep_largest
"""


def fill_string_table() -> None:
    """Have CPython's table of interned strings reach its size, as part of the warm-up.

    pathlib interns the parts of every path. A place in the table that a dropped string had is not
    used again until the table is full and built anew, then twice as large: once, by 3.8 MB, in the
    first some thousand studies, whatever they are, and not a second time.
    """
    for number in range(500_000):
        sys.intern(f"nobody keeps {number}")


class Gauge:
    """What this process holds whenever a study has ended."""

    def __init__(self) -> None:
        self.kilobytes: list[float] = []
        self.descriptors: list[int] = []

    def __call__(self, event: Event) -> None:
        """Measure."""
        if isinstance(event, StudyDone):
            if not self.kilobytes:
                fill_string_table()
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.kilobytes.append(pages * os.sysconf("SC_PAGE_SIZE") / 1024)
            self.descriptors.append(len(os.listdir("/proc/self/fd")))  # noqa: PTH208

    @property
    def _warm(self) -> list[float]:
        return self.kilobytes[len(self.kilobytes) // 10 :]

    @property
    def slope(self) -> float:
        """kB a study after the first tenth: the median over pairs of studies (Theil and Sen).

        A single step does not move it; ``least_squares`` and ``growth`` have such steps in them.
        """
        kept = np.asarray(self._warm)[:: max(1, len(self._warm) // 1000)]
        first, second = np.triu_indices(len(kept), 1)
        step = (len(self._warm) - 1) / (len(kept) - 1)
        return float(np.median((kept[second] - kept[first]) / (second - first) / step))

    @property
    def least_squares(self) -> float:
        """kB a study after the first tenth, by the straight line nearest to all."""
        return float(np.polyfit(np.arange(len(self._warm)), self._warm, 1)[0])

    @property
    def growth(self) -> float:
        """MB from the first tenth to the end, whatever came in between."""
        return (self._warm[-1] - self._warm[0]) / 1024


def make(folder: Path, count: int, size: int = 12) -> Pipeline:
    """Studies of ``size`` voxels a side, each of its own noise."""
    (folder / "images").mkdir()
    third = slice(size // 3, 2 * size // 3)
    for number in range(count):
        data = np.random.default_rng(number).normal(0, 8, (size,) * 3).astype(np.float32)
        data[third, third, third] += 100
        image = nib.Nifti1Image(data, np.diag([1.5, 1.5, 2, 1]))
        image.set_qform(image.affine, 1)
        image.set_sform(image.affine, 1)
        nib.save(image, folder / "images" / f"study_{number:05d}.nii")
    path = folder / "soak.yaml"
    path.write_text(PIPELINE)
    return load_pipeline(path)


def a_process_each(folder: Path, pipeline: Pipeline, count: int = 5) -> float:
    """Seconds a study where each has a process of its own."""
    scans = sorted((folder / "images").iterdir())[:count]
    begun = time.perf_counter()
    for number, scan in enumerate(scans):
        told = [sys.executable, "-m", "medseg", "run", str(folder / f"{pipeline.name}.yaml")]
        told += ["--input", str(scan), "--output", str(folder / f"alone_{number}")]
        subprocess.run(told, check=True, capture_output=True)
    return (time.perf_counter() - begun) / count


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=5000)
    parser.add_argument("--workers", type=int, default=0)
    asked = parser.parse_args()
    site = Site(device="cpu")
    if asked.workers:
        site = replace(site, execution="local", workers=asked.workers)
    with tempfile.TemporaryDirectory() as name:
        folder, gauge = Path(name), Gauge()
        pipeline = make(folder, asked.studies)
        begun = time.perf_counter()
        summary = predict(pipeline.writing_to(folder / "out"), site, watch=gauge)
        seconds = (time.perf_counter() - begun) / asked.studies
        alone = a_process_each(folder, pipeline)
    assert not summary.failures
    print(f"{asked.studies} studies, {1 / seconds:.1f} a second, {seconds * 1000:.1f} ms each")
    print(
        f"memory: {gauge.slope:+.3f} kB a study by the median, {gauge.least_squares:+.3f} by least"
        f" squares, {gauge.growth:+.1f} MB in all after the first tenth;"
        f" at the end {gauge.kilobytes[-1] / 1024:.0f} MB"
    )
    print(f"descriptors: {min(gauge.descriptors[10:])} to {max(gauge.descriptors)}")
    print(f"a process for each study: {alone:.2f} s, {alone / seconds:.0f} times longer")


if __name__ == "__main__":
    main()
