"""By how much definitions of a distance differ on the same masks: the table of docs/metrics.md.

    python benchmarks/metric_definitions.py

A smooth lump of 32 voxels a side, and the same moved by a voxel along x with some of its border
grown; with three spacings.
"""

from __future__ import annotations

import warnings

import numpy as np

from medseg.image import Grid, Label, LabelMap, Labels
from medseg.metrics import Assd, Comparison, Hd, Hd95, Metric, Nsd
from medseg.metrics.surface import Form, surfaces

SPACINGS_MM = ((1.0, 1.0, 1.0), (0.7, 0.7, 5.0), (0.3, 0.3, 10.0))
FORMS: tuple[Form, ...] = ("surfels", "border")


def masks(spacing_mm: tuple[float, float, float]) -> Comparison:
    """The two masks on a grid."""
    from scipy.ndimage import binary_dilation, gaussian_filter

    smooth = gaussian_filter(np.random.default_rng(0).normal(size=(32, 32, 32)), 2.5)
    truth = smooth > np.quantile(smooth, 0.7)
    chosen = np.random.default_rng(1).random(truth.shape) < 0.03
    wrong = np.roll(np.where(chosen, binary_dilation(truth), truth), 1, 0)
    grid = Grid(np.diag([*spacing_mm, 1.0]), truth.shape)
    labels = Labels((Label("lump", (1,)),))
    one, other = (LabelMap(data.astype(np.uint8), grid, labels) for data in (wrong, truth))
    return Comparison(one, other)


def value(metric: Metric, both: Comparison) -> float:
    """The one result of a metric."""
    return float(metric(both)[0].value or 0.0)


def rows(both: Comparison, spacing_mm: tuple[float, float, float]) -> dict[str, float]:
    """Each definition and its value in mm, or as a share."""
    found: dict[str, float] = {}
    for form in FORMS:
        record = surfaces(both, form)["lump"]
        assert record is not None
        ends = (record.to_reference, record.to_prediction)
        pooled = np.concatenate([end.distances_mm for end in ends])
        found[f"hd95_{form}"] = value(Hd95(surface=form), both)
        found[f"95th percentile of both directions together, {form}"] = float(
            np.percentile(pooled, 95)
        )
        found[f"assd_{form}"] = value(Assd(surface=form), both)
        found[f"mean of the two directed means, {form}"] = float(
            np.mean([end.mean_mm for end in ends])
        )
        found[f"hd_{form}"] = value(Hd(surface=form), both)
        found[f"nsd_1mm_{form}"] = value(Nsd(surface=form, tolerances_mm=(1.0,)), both)
    voxels = masks((1.0, 1.0, 1.0))
    found["hd95_border, spacing left out"] = value(Hd95(surface="border"), voxels)
    return found | itk(both, spacing_mm)


def itk(both: Comparison, spacing_mm: tuple[float, float, float]) -> dict[str, float]:
    """What SimpleITK calls the average Hausdorff distance."""
    import SimpleITK

    images = [SimpleITK.GetImageFromArray(m.data.T) for m in (both.prediction, both.reference)]
    for image in images:
        image.SetSpacing(spacing_mm)
    distance = SimpleITK.HausdorffDistanceImageFilter()
    distance.Execute(*images)
    return {"SimpleITK's average Hausdorff distance": distance.GetAverageHausdorffDistance()}


def main() -> None:
    """Print the table."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        columns = [rows(masks(spacing), spacing) for spacing in SPACINGS_MM]
    print(
        "| definition | " + " | ".join("x".join(f"{s:g}" for s in sp) for sp in SPACINGS_MM) + " |"
    )
    print("|---|" + "---:|" * len(columns))
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(f"{column[name]:.3f}" for column in columns) + " |")


if __name__ == "__main__":
    main()
