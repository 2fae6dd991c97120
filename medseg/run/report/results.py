"""What is told of a whole cohort: rows of tables of statistics, and the definitions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from medseg.metrics import METRICS, Probabilities
from medseg.metrics.agreement import AmongReaders
from medseg.run.calibration import pooled
from medseg.run.report.gathering import Gathered
from medseg.run.report.plots import shown_metrics
from medseg.run.report.words import NONE, metric_label, number, paired

Row = dict[str, Any]


def glance(found: Gathered) -> list[Row]:
    """By label and run, the means of the few metrics that matter most, with their intervals."""
    metrics = shown_metrics(found)
    rows = []
    for label in found.labels:
        for run in found.runs:
            known = run.statistics.get("metrics", {}).get(label, {})
            values = [_with_interval(known.get(metric)) for metric in metrics]
            if any(values):
                rows.append({"label": label, "run": run.name or "prediction", "values": values})
    return rows


def _with_interval(one: Mapping[str, Any] | None) -> tuple[str, str] | None:
    if one is None or one["mean"] is None:
        return None
    low, high = one["low"], one["high"]
    around = "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
    return number(one["mean"]), around


def statistics(found: Gathered) -> list[Row]:
    """By run, label and metric: mean with its interval, median, SD and over how many."""
    rows = []
    for run in found.runs:
        for label, metrics in run.statistics.get("metrics", {}).items():
            for metric, one in metrics.items():
                why = ", ".join(
                    f"{n} {w.replace('_', ' ')}" for w, n in one.get("undefined", {}).items()
                )
                rows.append({
                    "run": run.name, "label": label, "metric": metric_label(metric),
                    "mean": number(one["mean"]), "low": number(one["low"]),
                    "high": number(one["high"]), "median": number(one["median"]),
                    "sd": number(one["sd"]), "n": one["n"], "undefined": why,
                })  # fmt: skip
    return rows


def differences(found: Gathered) -> list[Row]:
    """Pairs of runs: the mean difference, its interval and the corrected p-value."""
    return [
        {
            "pair": f"{one['one']} less {one['other']}",
            "label": one["label"],
            "metric": metric_label(one["metric"]),
            "n": one["n"],
            "mean": _signed(one["mean"]),
            "low": _signed(one["low"]),
            "high": _signed(one["high"]),
            "p": _p(one["p_holm"]),
        }
        for one in found.differences
    ]


def _signed(value: float | None) -> str:
    return NONE if value is None else f"{value:+.3f}"


def _p(value: float | None) -> str:
    if value is None:
        return NONE
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def agreement(found: Gathered) -> list[Row]:
    """By run and label: bias and limits of volumes, and their ICC."""
    rows = []
    for run in found.runs:
        for label, one in run.statistics.get("volumes_ml", {}).items():
            limits, icc = one.get("bland_altman") or {}, one.get("icc") or {}
            rows.append({
                "run": run.name, "label": label, "bias": _signed(limits.get("bias")),
                "low": _signed(limits.get("low")), "high": _signed(limits.get("high")),
                "icc": number(icc.get("value")), "icc_low": number(icc.get("low")),
                "icc_high": number(icc.get("high")), "n": limits.get("n", 0),
            })  # fmt: skip
    return rows


def subgroups(found: Gathered) -> list[Row]:
    """By run, column of the manifest and its value: means of the metrics that matter most."""
    rows = []
    metrics = shown_metrics(found)
    for run in found.runs:
        for column, parts in run.statistics.get("by", {}).items():
            for value, labels in parts.items():
                for label, known in labels.items():
                    for metric in (one for one in metrics if one in known):
                        one = known[metric]
                        rows.append({
                            "run": run.name, "column": column, "value": value or NONE,
                            "label": label, "metric": metric_label(metric), "n": one["n"],
                            "mean": number(one["mean"]), "low": number(one["low"]),
                            "high": number(one["high"]),
                        })  # fmt: skip
    return rows


def readers(found: Gathered) -> list[Row]:
    """By label and share: the model with readers, readers with readers, and the answer."""
    told = found.agreement or {}
    rows = []
    for label, metrics in told.get("among_readers", {}).items():
        kappa = (told["fleiss_kappa"].get(label) or {}).get("mean")
        for metric, one in metrics.items():
            if one is not None:
                rows.append({
                    "label": label, "metric": metric_label(metric), "n": one["n"],
                    "model": number(one["model"]), "readers": number(one["readers"]),
                    "index": number(one["index"]), "low": number(one["low"]),
                    "high": number(one["high"]), "within": one["within"] or NONE,
                    "kappa": number(kappa),
                })  # fmt: skip
    return rows


def reader_pairs(found: Gathered) -> list[Row]:
    """The mean of every pair of a model, readers and consensuses, by label and metric."""
    return [
        {
            "pair": paired(one),
            "label": one["label"], "metric": metric_label(one["metric"]), "n": one["n"],
            "mean": number(one["mean"]), "low": number(one["low"]), "high": number(one["high"]),
        }
        for one in (found.agreement or {}).get("pairs", [])
    ]  # fmt: skip


def calibration(found: Gathered) -> list[Row]:
    """By run and label: errors of probabilities, of all studies' voxels together."""
    return [
        {
            "run": run.name, "label": label, "voxels": f"{int(one.count.sum()):,}",
            "ece": number(one.curve.ece), "gap": number(one.curve.largest_gap),
            "brier": number(one.brier, 4),
        }
        for run in found.runs
        for label, one in pooled(run.records.values()).items()
    ]  # fmt: skip


def definitions(found: Gathered) -> list[tuple[str, str]]:
    """What each metric of the report is, in the words of its own documentation."""
    told: dict[str, tuple[str, list[str]]] = {}
    for metric in found.metrics:
        name = max((key for key in METRICS if _is_of(metric, key)), key=len, default=None)
        if name is None:
            continue
        text = _words(METRICS[name])
        told.setdefault(name, (text, []))[1].append(metric)
    known = [(f"{name}: {', '.join(results)}", text) for name, (text, results) in told.items()]
    if any(run.records[s].get("confidence") for run in found.runs for s in run.records):
        known.append(("probabilities: ece, brier, confidence", _words(Probabilities)))
    if found.readers:
        known.append(("among readers: index", _words(AmongReaders)))
    return known


def _words(what: type[Any]) -> str:
    from medseg.pipeline.schema import docstring

    return " ".join(docstring(what).replace("``", "").split())


def _is_of(metric: str, name: str) -> bool:
    if name == "lesions":
        return metric.startswith(("lesion", "panoptic", "false_positive"))
    return metric == name or metric.startswith(f"{name}_")
