"""``medseg evaluate``: two folders of masks, of any tool, compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import InputError, MedsegError
from medseg.execution import serial
from medseg.image import Label, Labels, Study
from medseg.io import find_studies, has_no_grid, read_label_values, read_labels
from medseg.metrics import Comparison
from medseg.run.events import Note, State, StudyDone, Watch, unheard
from medseg.run.folder import held
from medseg.run.records import (
    Record,
    failed,
    measured,
    rounded,
    warnings_of,
    write_record,
)
from medseg.run.tables import write_tables
from medseg.step import Step


@dataclass(frozen=True)
class EvaluationSummary:
    """Where the tables are, which studies failed and why, and what summary.json says."""

    output: Path
    failures: Mapping[str, MedsegError]
    summary: Mapping[str, Any]


def evaluate(
    predictions: Path,
    references: Path,
    labels: Labels | None,
    *,
    metrics: Sequence[Step],
    output: Path,
    watch: Watch = unheard,
) -> EvaluationSummary:
    """Compare every prediction with the reference of the same name.

    Without ``labels`` every value that occurs in a reference is a label, called by its number.
    Raises InputError where nothing matches, OutputError where ``output`` cannot be written.
    """
    found = find_studies(predictions, reference=references, channels=1)
    for note in found.notes:
        watch(Note(note))
    pairs = [study for study in found.studies if study.reference is not None]
    if not pairs:
        raise InputError(
            "E_NO_INPUT", f"no mask here has the name of a reference in {references}", predictions
        )
    labels = labels or _labels_of(pairs)

    def compare(study: Study) -> Record:
        assert study.reference is not None
        prediction = Path(study.images[0])
        if has_no_grid(study.reference):
            mask, more = read_labels(prediction, labels)
            reference, told = read_labels(study.reference, labels, mask.grid)
        else:
            reference, told = read_labels(study.reference, labels)
            mask, more = read_labels(prediction, labels, reference.grid)
        comparison = Comparison(mask, reference)
        return {
            "study": study.name,
            "state": "done",
            "volumes_ml": [rounded(mask.volumes_ml())],
            "reference_volumes_ml": rounded(reference.volumes_ml()),
            "metrics": measured(m for metric in metrics for m in metric(comparison)),
            "warnings": warnings_of([*told, *more]),
        }

    failures: dict[str, MedsegError] = {}
    with held(output):
        records = []
        for done in serial(compare, pairs):
            record = done.result or failed(done.item, _known(done.error))
            if done.error is not None:
                failures[done.item.name] = done.error
            write_record(output, record)
            records.append(record)
            state: State = "done" if done.error is None else "failed"
            watch(StudyDone(done.item.name, state, done.seconds, str(done.error or "")))
        summary = write_tables(output, records)
    return EvaluationSummary(output, failures, summary)


def _known(error: MedsegError | None) -> MedsegError:
    assert error is not None  # an outcome has a result or an error
    return error


def _labels_of(pairs: Sequence[Study]) -> Labels:
    values: set[int] = set()
    for study in pairs:
        assert study.reference is not None
        values |= set(np.unique(read_label_values(study.reference)[0]).tolist()) - {0}
    if not values:
        raise InputError("E_NO_INPUT", "every reference mask is empty; name the labels")
    return Labels(tuple(Label(str(value), (int(value),)) for value in sorted(values)))
