"""A study's scan, reference and masks, read again and turned to one grid of RAS order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.errors import MedsegError
from medseg.image import Grid, Label, LabelMap, Labels, Study, Volume
from medseg.image.resampling import resample, resample_labels
from medseg.io import find_masks, find_studies, is_drawn, read_labels, read_scan
from medseg.run.records import Record
from medseg.run.report.gathering import RunSaid
from medseg.run.sources import Sources

_NEAR_MM = 0.01


@dataclass(frozen=True, eq=False)
class Material:
    """What can be shown of a study, all on ``grid`` (RAS order); ``notes`` say what is missing.

    ``scan (X, Y, Z)`` is the first channel, float32. ``masks`` are by the name of their run,
    ``readers`` by theirs; the reference is then the consensus of the majority.
    """

    grid: Grid
    scan: NDArray[np.float32] | None
    reference: LabelMap | None
    masks: Mapping[str, LabelMap]
    notes: tuple[str, ...] = ()
    readers: Mapping[str, LabelMap] = field(default_factory=dict)

    @property
    def outlined(self) -> Mapping[str, LabelMap]:
        """The masks of runs and of readers, by what each is called."""
        named = {name or ("model" if self.readers else "prediction"): mask
                 for name, mask in self.masks.items()}  # fmt: skip
        return {**named, **self.readers}

    @property
    def reference_name(self) -> str:
        """What the reference is called."""
        return "majority of readers" if self.readers else "reference"


@dataclass(frozen=True)
class Files:
    """Where the files of a run's studies are now."""

    run: RunSaid

    @cached_property
    def scans(self) -> Mapping[str, Study]:
        """Scans by study, with references where the run had them; none where they are gone."""
        where = self.run.sources
        if where.scans is None:
            return {}
        own = where.references if where.predictions is None else None
        try:
            found = find_studies(
                where.scans,
                reference=own,
                channels=where.channels,
                series=where.options.series,
            )
        except MedsegError:
            return {}
        return {study.name: study for study in found.studies}

    @cached_property
    def pairs(self) -> Mapping[str, Study]:
        """Masks of any tool by study, each with its reference."""
        where = self.run.sources
        if where.predictions is None or where.references is None:
            return {}
        try:
            found = find_masks(where.predictions, where.references)
        except MedsegError:
            return {}
        return {study.name: study for study in found.studies}

    @cached_property
    def readers(self) -> Mapping[str, Mapping[str, Path]]:
        """By the name of each reader the masks of studies."""
        where = self.run.sources
        told: dict[str, Mapping[str, Path]] = {}
        for name, folder in where.readers.items():
            if where.predictions is None:
                continue
            try:
                found = find_masks(where.predictions, folder)
            except MedsegError:
                continue
            told[name] = {s.name: s.reference for s in found.studies if s.reference is not None}
        return told

    def mask(self, record: Record) -> Path | None:
        """The mask of a study."""
        if self.run.sources.predictions is None:
            file = record.get("mask", {}).get("file")
            return self.run.folder / file if file else None
        study = self.pairs.get(record["study"])
        return None if study is None else Path(study.images[0])

    def reference(self, study: str) -> Path | None:
        """The reference of a study."""
        known = self.scans if self.run.sources.predictions is None else self.pairs
        return known[study].reference if study in known else None


def material(study: str, files: Mapping[str, Files]) -> Material | None:
    """Read what is there of a study; None where it has no mask that can be read."""
    notes: list[str] = []
    first = next(iter(files.values()))
    scan = _scan(first.scans.get(study), first.run.sources, notes)
    reference: LabelMap | None = None
    masks: dict[str, LabelMap] = {}
    readers: dict[str, LabelMap] = {}
    grid = None if scan is None else scan.grid
    for name, one in files.items():
        record = one.run.records.get(study)
        path = one.mask(record) if record and record["state"] == "done" else None
        labels = _labels(record or {}, one.run.sources)
        if path is None or labels is None:
            continue
        truth = one.reference(study)
        if reference is None and truth is not None:
            reference = _mask(truth, labels, grid if is_drawn(truth) else None, one, notes)
            grid = reference.grid if reference is not None else grid
        found = _mask(path, labels, grid, one, notes)
        if found is not None:
            masks[name] = found
            grid = found.grid
        for reader, paths in one.readers.items():
            drawn = _mask(paths[study], labels, grid, one, notes) if study in paths else None
            if drawn is not None:
                readers[reader] = drawn
    if grid is None or not masks:
        return None
    made = on_one_grid(grid, scan, reference, masks, tuple(dict.fromkeys(notes)))
    turned = {name: resample_labels(mask, made.grid) for name, mask in readers.items()}
    return replace(made, readers=turned)


def _labels(record: Record, sources: Sources) -> Labels | None:
    """The labels of a mask; post-processing may have given it others than the pipeline's."""
    own, known = record.get("labels"), sources.labels
    if not own:
        return known
    entries = tuple(
        replace(known[name], values=tuple(values))
        if known is not None and name in known.names
        else Label(name, tuple(values))
        for name, values in own.items()
    )
    return Labels(entries, known.ignore if known else None)


def _scan(study: Study | None, sources: Sources, notes: list[str]) -> Volume | None:
    if study is None:
        notes.append("The scan is not where it was, so that contours are drawn on black.")
        return None
    try:
        frame = read_scan(study, sources.options).frames[0]
    except MedsegError as error:
        notes.append(f"The scan could not be read again: {error.code}, {error.message}.")
        return None
    if frame.channels > 1:
        notes.append(f"The scan has {frame.channels} channels; the first is shown.")
    return frame


def _mask(
    path: Path, labels: Labels, like: Grid | None, files: Files, notes: list[str]
) -> LabelMap | None:
    try:
        return read_labels(path, labels, like, files.run.sources.options)[0]
    except MedsegError as error:
        notes.append(f"A mask could not be read again: {error.code}, {error.message}.")
        return None


def on_one_grid(
    grid: Grid,
    scan: Volume | None,
    reference: LabelMap | None,
    masks: Mapping[str, LabelMap],
    notes: tuple[str, ...],
) -> Material:
    """All on ``grid`` turned to RAS order; nothing is resampled that only lies otherwise."""
    image = None
    turned = grid.oriented("RAS")
    if scan is not None:
        first = Volume(scan.data[:1], scan.grid)
        if scan.grid.near(grid, _NEAR_MM):
            first = Volume(first.data, grid)
        image = np.ascontiguousarray(resample(first, turned, "linear").data[0])
    return Material(
        turned,
        image,
        None if reference is None else resample_labels(reference, turned),
        {name: resample_labels(mask, turned) for name, mask in masks.items()},
        notes,
    )
