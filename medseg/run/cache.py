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
from medseg.pipeline import Pipeline, Previous, Within, load_pipeline, pipeline_digest
from medseg.run.audit import files_as_they_are
from medseg.training.packed import Packed, packed
from medseg.training.sampling import Case, Stored, places_of


@dataclass(frozen=True)
class Cache:
    """Where preprocessed studies are kept: ``folder``, or None for memory, as ``dtype``.

    ``compressed`` files hold blocks of voxels, of which a patch unpacks those that it meets.
    A file's name has the digest of all that went into it: the study's files, the preprocessing,
    the labels. What no longer fits is made anew, and the old may be thrown away.
    """

    folder: Path | None
    dtype: str
    about: str
    compressed: bool = False

    @classmethod
    def of(cls, pipeline: Pipeline, folder: Path) -> Cache:
        """The cache that the pipeline's recipe asks for, on disk below ``folder``."""
        recipe = pipeline.training
        assert recipe is not None
        within, previous = pipeline.within, pipeline.previous
        place = replace(pipeline.input.unlimited, path=None, reference=None)
        parts = (pipeline.labels, place, within, _inner(within), pipeline.preprocess)
        # Files keep the names they had before there could be a mask to be shown.
        about = repr(parts if previous is None else (*parts, previous, _inner(previous)))
        disk = None if recipe.cache == "memory" else folder / "cache"
        return cls(disk, recipe.cache_float, about, recipe.cache == "compressed")

    def case(self, study: Study, make: Callable[[Study], Case]) -> Case:
        """The study as it was kept, or made now and kept."""
        if self.folder is None:
            return self._narrowed(make(study))
        place = self.folder / f"{study.name}-{self._digest(study)}"
        if not place.with_suffix(".json").exists():
            self._keep(make(study), place)
        return self._kept(study.name, place)

    def _narrowed(self, case: Case) -> Case:
        if self.dtype == "float32":
            return case
        assert isinstance(case.image.data, np.ndarray)
        image = Stored(case.image.data.astype(self.dtype), case.image.grid)
        return replace(case, image=image)

    def _digest(self, study: Study) -> str:
        files = files_as_they_are(study)
        form = (self.dtype, "compressed") if self.compressed else self.dtype
        return sha256(repr((self.about, form, files)).encode()).hexdigest()[:20]

    def _keep(self, case: Case, place: Path) -> None:
        assert isinstance(case.target, LabelMap)
        places = places_of(case.target)
        rows = [np.column_stack([np.full(len(at), v), at]) for v, at in places.items()]
        found = np.concatenate(rows) if rows else np.zeros((0, 4))
        assert isinstance(case.image.data, np.ndarray)
        parts = {"image": case.image.data.astype(self.dtype), "target": case.target.data}
        for name, data in parts.items():
            if self.compressed:
                write_atomically(place.with_suffix(f".{name}.packed"), packed(data))
            else:
                _write(place.with_suffix(f".{name}.npy"), data)
        _write(place.with_suffix(".places.npy"), found.astype(np.int32))
        grid = {"affine": case.image.grid.affine.tolist(), "shape": case.image.grid.shape}
        # Last, as it says that all the others are there.
        write_atomically(place.with_suffix(".json"), json.dumps(grid).encode())

    def _kept(self, name: str, place: Path) -> Case:
        said = json.loads(place.with_suffix(".json").read_bytes())
        x, y, z = said["shape"]
        grid = Grid(np.asarray(said["affine"]), (x, y, z))
        rows = np.load(place.with_suffix(".places.npy"), allow_pickle=False).astype(np.intp)
        values: Sequence[int] = sorted(set(rows[:, 0].tolist()))
        places = {value: rows[rows[:, 0] == value, 1:] for value in values}
        image, target = (Stored(self._opened(place, of), grid) for of in ("image", "target"))
        return Case(name, image, target, places)

    def _opened(self, place: Path, name: str) -> NDArray[Any] | Packed:
        if self.compressed:
            return Packed(place.with_suffix(f".{name}.packed"))
        path = place.with_suffix(f".{name}.npy")
        found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return found


def _inner(part: Within | Previous | None) -> str:
    """The digest of the pipeline within another; none where there is none."""
    return "" if part is None else pipeline_digest(load_pipeline(part.pipeline))


def _write(path: Path, data: NDArray[Any]) -> None:
    packed = io.BytesIO()
    np.save(packed, np.ascontiguousarray(data), allow_pickle=False)
    write_atomically(path, packed.getvalue())
