"""A model among several readers: agreement of all pairs, consensus, and where the model stands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path
from statistics import fmean
from typing import Any

from medseg.errors import Caution, InputError, MedsegError
from medseg.image import LabelMap, Labels, Study
from medseg.io import find_masks, is_drawn, read_labels, write_atomically, write_mask
from medseg.metrics import Comparison, Measure, Metric
from medseg.metrics.agreement import (
    Consensus,
    among_readers,
    consensus,
    kappa_of_votes,
    voxel_votes,
)
from medseg.metrics.statistics import describe
from medseg.run.evaluate import Asked, labels_of, lesions_of, shared_out, worked_through
from medseg.run.events import Note, Watch, unheard
from medseg.run.folder import held, inside
from medseg.run.instances import write_instances
from medseg.run.records import Record, measured, rounded, warnings_of, write_record
from medseg.run.sources import Sources, write_sources
from medseg.run.statistics import Cohort, write_json, write_statistics
from medseg.run.tables import csv_bytes, write_tables
from medseg.step import Step

MODEL = "model"
CONSENSUS = "consensus"
WAYS: tuple[Consensus, ...] = ("majority", "staple")
"""The first of them is what the model is measured against where one reference is wanted."""
_COLUMNS = ("study", "one", "other", "label", "metric", "value", "reason")


@dataclass(frozen=True)
class ReadersSummary:
    """Where the tables are, which studies failed, and what agreement.json says."""

    output: Path
    failures: Mapping[str, MedsegError]
    agreement: Mapping[str, Any]


def evaluate_readers(
    predictions: Path,
    readers: Mapping[str, Path],
    asked: Asked,
    output: Path,
    watch: Watch = unheard,
) -> ReadersSummary:
    """Compare a model with each reader and with their consensus, and readers with each other.

    Only studies that every reader has are compared. Writes agreement.csv and agreement.json,
    both consensuses as masks, and beside the consensus of the majority all that ``evaluated``
    writes beside a reference. Raises InputError where nothing matches, fewer than two readers are
    named, or one is called as the model or a consensus is.
    """
    if len(readers) < 2:
        raise InputError("E_NO_INPUT", "several readers are at least two; name one more")
    for name in (MODEL, *map(_named, WAYS)):
        if name in readers:
            raise InputError("E_DUPLICATE_ID", f"{name!r} is no reader; give it another name")
    studies, masks = _paired(predictions, readers, watch)
    cohort = asked.cohort(studies)
    paths = [Path(study.images[0]) for study in studies]
    paths += [path for of_study in masks.values() for path in of_study.values()]
    jobs, threads = shared_out(asked.jobs, len(studies))
    labels = asked.labels or labels_of(paths, jobs)
    work = _Work(replace(asked, labels=labels), masks, output, threads)
    with held(output):
        records, failures = worked_through(work, studies, jobs, watch)
        for record in records:
            write_record(output, record)
        write_tables(output, records)
        write_statistics(output, records, cohort)
        write_instances(output, records)
        majority = output / CONSENSUS / WAYS[0]
        places = Sources(asked.scans, majority, predictions, labels=labels, readers=readers)
        write_sources(output, places)
        done = [record for record in records if record["state"] == "done"]
        said = _agreement(done, tuple(readers), asked.metrics, cohort)
        write_json(output / "agreement.json", said)
        rows = [
            tuple({**one, "study": r["study"]}[c] for c in _COLUMNS)
            for r in done
            for one in r["pairs"]
        ]
        write_atomically(output / "agreement.csv", csv_bytes(_COLUMNS, rows))
    return ReadersSummary(output, failures, said)


def _paired(
    predictions: Path, readers: Mapping[str, Path], watch: Watch
) -> tuple[list[Study], dict[str, dict[str, Path]]]:
    """The studies that every reader has, and each reader's mask of them."""
    masks: dict[str, dict[str, Path]] = {}
    studies: dict[str, Study] = {}
    for reader, folder in readers.items():
        found = find_masks(predictions, folder)
        for note in found.notes:
            watch(Note(f"{reader}: {note}"))
        for study in found.studies:
            assert study.reference is not None  # find_masks leaves the others out
            studies[study.name] = study
            masks.setdefault(study.name, {})[reader] = study.reference
    whole = [name for name in sorted(studies) if len(masks[name]) == len(readers)]
    if not whole:
        raise InputError("E_NO_INPUT", "no study has a mask of every reader", predictions)
    if len(whole) < len(studies):
        watch(Note(f"{len(studies) - len(whole)} studies are left out: not every reader has them"))
    return [studies[name] for name in whole], masks


@dataclass(frozen=True)
class _Work:
    """All pairs of one study; a call gives its record."""

    asked: Asked
    masks: Mapping[str, Mapping[str, Path]]
    output: Path
    threads: int

    @property
    def labels(self) -> Labels:
        """Those of all masks."""
        assert self.asked.labels is not None  # found in the masks where none were given
        return self.asked.labels

    def __call__(self, study: Study) -> Record:
        mask, readers, cautions = self._read(study)
        agreed = {how: consensus(list(readers.values()), how) for how in WAYS}
        for how, one in agreed.items():
            path = self.output / CONSENSUS / how / f"{study.name}.nii.gz"
            write_mask(inside(self.output, path), one)
        pairs = [
            {"one": one, "other": other, **measure}
            for one, mine, other, theirs in _pairs(mask, readers, agreed)
            for measure in self._measured(mine, theirs)
        ]
        asked, majority = self.asked, agreed[WAYS[0]]
        flags = asked.quality.flags(mask) if asked.quality is not None else ()
        record = {
            "study": study.name,
            "state": "done",
            "volumes_ml": [rounded(mask.volumes_ml())],
            "reference_volumes_ml": rounded(majority.volumes_ml()),
            "reader_volumes_ml": {n: rounded(one.volumes_ml()) for n, one in readers.items()},
            "metrics": [_bare(one) for one in pairs if one["other"] == _named(WAYS[0])],
            "pairs": pairs,
            "kappa": self._kappa(list(readers.values())),
            "warnings": warnings_of([*cautions, *flags]),
        }
        return record | lesions_of(study, mask, majority, asked, self.output)

    def _read(self, study: Study) -> tuple[LabelMap, dict[str, LabelMap], list[Caution]]:
        """The model's mask and each reader's, all in one order of axes.

        What is drawn on some slices is laid on the grid of a mask that has them all.
        """
        paths, prediction = self.masks[study.name], Path(study.images[0])
        every = (*paths.values(), prediction)
        whole = next((path for path in every if not is_drawn(path)), prediction)
        first, told = read_labels(whole, self.labels, options=self.asked.read)
        cautions = list(told)

        def laid(path: Path) -> LabelMap:
            if path == whole:
                return first
            found, more = read_labels(path, self.labels, first.grid, self.asked.read)
            cautions.extend(more)
            return found

        readers = {name: laid(path) for name, path in paths.items()}
        return laid(prediction), readers, cautions

    def _measured(self, mine: LabelMap, theirs: LabelMap) -> list[dict[str, Any]]:
        comparison = Comparison(mine, theirs, self.threads)
        found: list[Measure] = [m for metric in self.asked.metrics for m in metric(comparison)]
        return measured(found)

    def _kappa(self, readers: Sequence[LabelMap]) -> dict[str, float | None]:
        plain = [_seen(mask, readers) for mask in readers]
        votes = {name: voxel_votes(plain, name) for name in self.labels.names}
        return {n: None if v is None else kappa_of_votes(v) for n, v in votes.items()}


def _seen(mask: LabelMap, readers: Sequence[LabelMap]) -> LabelMap:
    """A mask without what any reader says to ignore."""
    ignore = mask.labels.ignore
    if ignore is None:
        return mask
    data = mask.data.copy()
    for other in readers:
        data[other.data == ignore] = 0
    return mask.with_data(data)


def _pairs(
    model: LabelMap, readers: Mapping[str, LabelMap], agreed: Mapping[Consensus, LabelMap]
) -> list[tuple[str, LabelMap, str, LabelMap]]:
    """The model and each reader, each pair of readers, and the model and both consensuses."""
    pairs = [(MODEL, model, name, mask) for name, mask in readers.items()]
    for one, other in combinations(readers, 2):
        pairs.append((one, readers[one], other, readers[other]))
    return pairs + [(MODEL, model, _named(how), mask) for how, mask in agreed.items()]


def _named(how: Consensus) -> str:
    return f"consensus_{how}"


def _bare(pair: Mapping[str, Any]) -> dict[str, Any]:
    """A measure without the two that it is of."""
    return {name: pair[name] for name in ("label", "metric", "value", "reason")}


def _agreement(
    records: Sequence[Record], readers: tuple[str, ...], metrics: Sequence[Step], cohort: Cohort
) -> dict[str, Any]:
    """Means of every pair, kappa, and by label and share the model's place among readers."""
    values: dict[tuple[str, str, str, str], dict[str, float]] = {}
    for record in records:
        for one in record["pairs"]:
            if one["value"] is not None:
                place = (one["one"], one["other"], one["label"], one["metric"])
                values.setdefault(place, {})[record["study"]] = one["value"]
    pairs = [
        {
            **dict(zip(("one", "other", "label", "metric"), place, strict=True)),
            **asdict(describe(list(found.values()), cohort.patients(found))),
        }
        for place, found in values.items()
    ]
    return {
        "readers": list(readers),
        "studies": len(records),
        "pairs": pairs,
        "fleiss_kappa": _kappas(records),
        "among_readers": _among(values, readers, metrics, cohort),
    }


def _kappas(records: Sequence[Record]) -> dict[str, Any]:
    """The mean of the studies' kappas of each label, and of how many."""
    names = dict.fromkeys(name for record in records for name in record["kappa"])
    told = {}
    for name in names:
        found = [r["kappa"][name] for r in records if r["kappa"].get(name) is not None]
        told[name] = {"mean": fmean(found) if found else None, "n": len(found)}
    return told


def _among(
    values: Mapping[tuple[str, str, str, str], Mapping[str, float]],
    readers: tuple[str, ...],
    metrics: Sequence[Step],
    cohort: Cohort,
) -> dict[str, dict[str, Any]]:
    told: dict[str, dict[str, Any]] = {}
    # Of what other packages add, nothing is known but that it gives measures.
    known = [metric for metric in metrics if isinstance(metric, Metric) and metric.symmetric]
    shares = {name for metric in known for name, best in metric.agreed.items() if best == 1}
    for label, metric in dict.fromkeys((p[2], p[3]) for p in values if p[3] in shares):
        model = [values.get((MODEL, r, label, metric), {}) for r in readers]
        others = [values.get((a, b, label, metric), {}) for a, b in combinations(readers, 2)]
        studies = [s for s in model[0] if all(s in one for one in (*model, *others))]
        mine, theirs = (
            [fmean(one[s] for one in group) for s in studies] for group in (model, others)
        )
        found = among_readers(mine, theirs, cohort.patients(studies))
        told.setdefault(label, {})[metric] = None if found is None else asdict(found)
    return told
