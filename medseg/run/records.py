"""What is kept of a study beside its mask, and whether an earlier run's mask still stands."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from medseg.errors import Caution, MedsegError
from medseg.image import LabelMap, Study
from medseg.io import digests_of, sha256_of, write_atomically
from medseg.metrics import Measure
from medseg.pipeline import Pipeline
from medseg.run.privacy import Names

Record = dict[str, Any]
_PACKAGES = ("medseg", "torch", "monai", "numpy", "scipy", "connected-components-3d", "isal")


@cache
def versions() -> Mapping[str, str]:
    """Versions of medseg, Python and the packages that can change a mask."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def record_path(output: Path, study: str) -> Path:
    """Where a study's record lies in an output folder."""
    return output / "studies" / f"{study}.json"


def write_record(output: Path, record: Record) -> None:
    """Write a record; JSON without NaN."""
    text = json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_atomically(record_path(output, record["study"]), text.encode("utf-8", "backslashreplace"))


def read_record(output: Path, study: str) -> Record | None:
    """The record of an earlier run, or None where there is none that can be read."""
    try:
        record = json.loads(record_path(output, study).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("study") == study else None


def failed(study: Study, error: MedsegError, pipeline: Mapping[str, str] | None = None) -> Record:
    """The record of a study without a mask; ``pipeline`` is the name and digest of whose."""
    return {
        "study": study.name,
        "state": "failed",
        **({"pipeline": dict(pipeline)} if pipeline else {}),
        "error": {"code": error.code, "message": error.message, "file": _name(error.path)},
        "versions": dict(versions()),
    }


def _name(path: str | None) -> str | None:
    return None if path is None else Path(path).name


def warnings_of(cautions: Iterable[Caution]) -> list[dict[str, str]]:
    """Cautions as JSON, each once."""
    return [{"code": c.code, "message": c.message} for c in dict.fromkeys(cautions)]


def rounded(values: Mapping[str, float]) -> dict[str, float]:
    """Seconds or millilitres to the microlitre: more digits would be noise."""
    return {name: round(value, 6) for name, value in values.items()}


def volumes_of(masks: Iterable[LabelMap]) -> list[dict[str, float]]:
    """Volume of every label in ml, frame by frame."""
    return [rounded(mask.volumes_ml()) for mask in masks]


def measured(measures: Iterable[Measure]) -> list[dict[str, Any]]:
    """Measures as JSON: a value, or null and the reason."""
    return [
        {"label": m.label, "metric": m.metric, "value": m.value, "reason": m.reason}
        for m in measures
    ]


def judged_by(study: Study, pipeline: Pipeline) -> dict[str, str | None]:
    """What is said of a mask rests on this: the reference's bytes and what was asked."""
    said = {
        "reference_sha256": None if study.reference is None else sha256_of(study.reference),
        "metrics": "; ".join(map(repr, pipeline.metrics)) if study.reference else "",
        "instances": repr(pipeline.instances) if pipeline.instances else "",
    }
    # Records keep what they had before probabilities could be asked for.
    if not pipeline.keeps_scores:
        return said
    temperature = f" at temperature {pipeline.calibration.temperature:g}"
    return {**said, "probabilities": repr(pipeline.probabilities) + temperature}


def probabilities_path(output: Path, study: str) -> Path:
    """Where a study's probabilities lie in an output folder."""
    return output / "probabilities" / f"{study}.nii.gz"


def probabilities_stand(record: Record | None, pipeline: Pipeline, output: Path) -> bool:
    """Whether the probabilities that a pipeline asks for are those that the record speaks of."""
    if not pipeline.output_options.probabilities:
        return True
    said = (record or {}).get("probabilities", {})
    if said.get("temperature") != pipeline.calibration.temperature:
        return False
    try:
        return bool(sha256_of(output / said["file"]) == said["sha256"])
    except (OSError, KeyError, MedsegError):
        return False


def still_stands(
    record: Record | None, study: Study, pipeline: Pipeline, pipeline_digest: str, mask: Path
) -> bool:
    """Whether a mask was made by this pipeline from these very files, and is whole.

    Where probabilities are asked about, which nobody keeps, also whether it was judged as now.
    """
    if record is None or record.get("state") != "done":
        return False
    if record.get("pipeline", {}).get("digest") != pipeline_digest:
        return False
    try:
        if sha256_of(mask) != record["mask"]["sha256"]:
            return False
        if pipeline.keeps_scores and record.get("judged_by") != judged_by(study, pipeline):
            return False
        inputs = Names.of(pipeline).inputs(digests_of(study, pipeline.input))
        return bool(inputs == record["inputs"])
    except (OSError, KeyError, MedsegError):
        return False
