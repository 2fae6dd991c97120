"""Preprocessed studies, kept in memory or in files that are read as they are needed."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medseg.image import Grid, LabelMap, Study
from medseg.io import write_atomically
from medseg.pipeline import Pipeline, load_pipeline, pipeline_digest
from medseg.run.audit import files_as_they_are
from medseg.training.sampling import Case, Stored, places_of


@dataclass(frozen=True)
class Cache:
    """Where preprocessed studies are kept: ``folder``, or None for memory, as ``dtype``.

    A file's name has the digest of all that went into it: the study's files, the preprocessing,
    the labels. What no longer fits is made anew, and the old may be thrown away.
    """

    folder: Path | None
    dtype: str
    about: str

    @classmethod
    def of(cls, pipeline: Pipeline, folder: Path) -> Cache:
        """The cache that the pipeline's recipe asks for, on disk below ``folder``."""
        recipe = pipeline.training
        assert recipe is not None
        within = pipeline.within
        inner = pipeline_digest(load_pipeline(within.pipeline)) if within is not None else ""
        place = replace(pipeline.input, path=None, reference=None, memory_gib=None)
        about = repr((pipeline.labels, place, within, inner, pipeline.preprocess))
        disk = folder / "cache" if recipe.cache == "disk" else None
        return cls(disk, recipe.cache_float, about)

    def case(self, study: Study, make: Callable[[Study], Case]) -> Case:
        """The study as it was kept, or made now and kept."""
        if self.folder is None:
            return self._narrowed(make(study))
        place = self.folder / f"{study.name}-{self._digest(study)}"
        if not place.with_suffix(".json").exists():
            self._keep(make(study), place)
        return _kept(study.name, place)

    def _narrowed(self, case: Case) -> Case:
        if self.dtype == "float32":
            return case
        image = Stored(case.image.data.astype(self.dtype), case.image.grid)
        return replace(case, image=image)

    def _digest(self, study: Study) -> str:
        files = files_as_they_are(study)
        return sha256(repr((self.about, self.dtype, files)).encode()).hexdigest()[:20]

    def _keep(self, case: Case, place: Path) -> None:
        assert isinstance(case.target, LabelMap)
        places = places_of(case.target)
        rows = [np.column_stack([np.full(len(at), v), at]) for v, at in places.items()]
        found = np.concatenate(rows) if rows else np.zeros((0, 4))
        _write(place.with_suffix(".image.npy"), case.image.data.astype(self.dtype))
        _write(place.with_suffix(".target.npy"), case.target.data)
        _write(place.with_suffix(".places.npy"), found.astype(np.int32))
        grid = {"affine": case.image.grid.affine.tolist(), "shape": case.image.grid.shape}
        # Last, as it says that all the others are there.
        write_atomically(place.with_suffix(".json"), json.dumps(grid).encode())


def _write(path: Path, data: NDArray[Any]) -> None:
    packed = io.BytesIO()
    np.save(packed, np.ascontiguousarray(data), allow_pickle=False)
    write_atomically(path, packed.getvalue())


def _kept(name: str, place: Path) -> Case:
    said = json.loads(place.with_suffix(".json").read_bytes())
    x, y, z = said["shape"]
    grid = Grid(np.asarray(said["affine"]), (x, y, z))
    image = np.load(place.with_suffix(".image.npy"), mmap_mode="r", allow_pickle=False)
    target = np.load(place.with_suffix(".target.npy"), mmap_mode="r", allow_pickle=False)
    rows = np.load(place.with_suffix(".places.npy"), allow_pickle=False).astype(np.intp)
    values: Sequence[int] = sorted(set(rows[:, 0].tolist()))
    places = {value: rows[rows[:, 0] == value, 1:] for value in values}
    return Case(name, Stored(image, grid), Stored(target, grid), places)
