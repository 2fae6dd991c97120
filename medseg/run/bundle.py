"""A trained pipeline as a MONAI bundle, which MONAI runs without medseg."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from medseg.errors import ModelError
from medseg.inference import SlidingWindow
from medseg.io import write_atomically
from medseg.pipeline import Pipeline, step_name
from medseg.postprocess.components import KeepLargest
from medseg.run.exported import (
    DESCRIPTION,
    ExportSummary,
    channels_of,
    description,
    exported_network,
)
from medseg.run.records import versions

if TYPE_CHECKING:
    from medseg.inference import Slices

_HALF_VOXEL = (
    "'spacing' becomes MONAI's Spacingd, whose voxels begin at the scan's edge; where they do not"
    " fill the scan exactly, medseg's lie about its centre, and borders may differ"
)
_STEPS = (
    "MONAI moves windows by whole steps and the last one back; where several windows are needed,"
    " borders may differ in single voxels"
)
Said = dict[str, Any]


def write_bundle(
    pipeline: Pipeline, steps: list[SlidingWindow | Slices], output: Path
) -> ExportSummary:
    """Write ``configs``, ``models`` and ``docs`` of a bundle for ``python -m monai.bundle run``.

    The network is a program of torch.export, so that its class need not be known to MONAI. Raises
    ModelError E_CONFIG for what MONAI has no word for.
    """
    step = _the_only(pipeline, steps)
    before, notes = _preprocessing(pipeline)
    after = _postprocessing(pipeline)
    with TemporaryDirectory(prefix="medseg-") as folder:
        entry, (file,) = exported_network(pipeline, step, "pt2", Path(folder))
        model = output / "models/model.pt2"
        write_atomically(model, file.read_bytes())
    if step.overlap:
        notes = (*notes, _STEPS)
    said = {
        "configs/inference.json": _config(pipeline, step, before, after),
        "configs/metadata.json": _metadata(pipeline, entry),
        DESCRIPTION: description(pipeline) | {"networks": [{"file": "models/model.pt2", **entry}]},
    }
    files = [model]
    for name, one in said.items():
        text = json.dumps(one, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        write_atomically(output / name, text.encode())
        files.append(output / name)
    return ExportSummary(output, tuple(files), entry["largest_difference"], notes)


def _the_only(pipeline: Pipeline, steps: list[SlidingWindow | Slices]) -> SlidingWindow:
    wanted = {
        "within": pipeline.within is None,
        "previous": pipeline.previous is None,
        "refine": not pipeline.refine,
        "inference": len(steps) == 1 and isinstance(steps[0], SlidingWindow),
        "input.channels": len(pipeline.input.channels) == 1,
        "labels": pipeline.labels.exclusive
        and [label.values[0] for label in pipeline.labels]
        == list(range(1, len(pipeline.labels) + 1)),
    }
    for part, fits in wanted.items():
        if not fits:
            raise _no_word(pipeline, part)
    step = steps[0]
    assert isinstance(step, SlidingWindow)
    if step.mirror or step.decision.scores == "logits" or step.blending == "nnunet":
        raise _no_word(pipeline, "inference.0 with mirror, logits or nnunet's blending")
    return step


def _no_word(pipeline: Pipeline, part: str) -> ModelError:
    told = (
        f"'{pipeline.name}': {part} has no counterpart in the bundles that medseg writes: one image"
        " a study, one sliding_window, labels 1, 2, 3 and so on"
    )
    return ModelError("E_CONFIG", told)


def _transform(target: str, **options: Any) -> Said:
    return {"_target_": target, "keys": "image", **options}


def _preprocessing(pipeline: Pipeline) -> tuple[list[Said], tuple[str, ...]]:
    parts = [
        _transform("LoadImaged"),
        _transform("EnsureChannelFirstd"),
        _transform("EnsureTyped", dtype="float32"),
    ]
    notes: tuple[str, ...] = ()
    for place, step in enumerate(pipeline.preprocess):
        said = _preprocessed(step)
        if said is None:
            raise _no_word(pipeline, f"preprocess.{place}.{step_name(step)}")
        parts.append(said)
        if getattr(step, "align", "first") != "first":
            notes = (_HALF_VOXEL,)
    return parts, notes


def _preprocessed(step: Any) -> Said | None:
    """The dictionary transform of a step, None where there is none that does the same."""
    every = getattr(step, "channels", None) is None
    match step_name(step):
        case "orientation":
            return _transform("Orientationd", axcodes=step.axcodes, labels=None)
        case "spacing" if step.coarse_axis is None and None not in step.pixdim:
            mode = {"linear": "bilinear", "nearest": "nearest", "cubic": 3}[step.mode]
            whole = step.align != "first"
            return _transform("Spacingd", pixdim=step.pixdim, mode=mode, scale_extent=whole)
        case "scale_intensity_range" if every:
            return _transform("ScaleIntensityRanged", **_options(step))
        case "scale_intensity_range_percentiles" if every:
            return _transform("ScaleIntensityRangePercentilesd", **_options(step))
        case "normalize_intensity" if every:
            return _transform("NormalizeIntensityd", **_options(step))
        case "crop_foreground" if every and step.threshold == 0 and not step.nonzero:
            options = {"source_key": "image", "margin": step.margin, "allow_smaller": True}
            return _transform("CropForegroundd", **options)
        case "clip" if every and step.lower_percentile is None and step.upper_percentile is None:
            return _clipped(step.minimum, step.maximum)
    return None


def _options(step: Any) -> Said:
    """The options of a step that MONAI's transform calls by the same names."""
    return {one.name: getattr(step, one.name) for one in fields(step) if one.name != "channels"}


def _clipped(low: float | None, high: float | None) -> Said:
    if low is not None and high is not None:
        ends = {"a_min": low, "a_max": high, "b_min": low, "b_max": high}
        return _transform("ScaleIntensityRanged", **ends, clip=True)
    edge = high if low is None else low
    above = low is not None
    return _transform("ThresholdIntensityd", threshold=edge, above=above, cval=edge)


def _postprocessing(pipeline: Pipeline) -> list[Said]:
    parts = []
    for place, step in enumerate(pipeline.postprocess):
        if type(step) is not KeepLargest or step != KeepLargest(labels=step.labels):
            raise _no_word(pipeline, f"postprocess.{place}.{step_name(step)}")
        names = step.labels or pipeline.labels.names
        values = [pipeline.labels[name].values[0] for name in names]
        parts.append(
            {
                "_target_": "KeepLargestConnectedComponentd",
                "keys": "pred",
                "applied_labels": values,
                "is_onehot": False,
                "connectivity": 3,
            }
        )
    return parts


def _config(pipeline: Pipeline, step: SlidingWindow, before: list[Said], after: list[Said]) -> Said:
    undone = {
        "_target_": "Invertd",
        "keys": "pred",
        "transform": "@preprocessing",
        "orig_keys": "image",
        "nearest_interp": False,
        "to_tensor": True,
    }
    saved = {
        "_target_": "SaveImaged",
        "keys": "pred",
        "output_dir": "@output_dir",
        "output_postfix": "",
        "separate_folder": False,
        "output_dtype": "$numpy.uint8" if len(pipeline.labels) < 256 else "$numpy.uint16",
        "resample": False,
    }
    return {
        "imports": ["$import glob", "$import numpy", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "output_dir": "$@bundle_root + '/masks'",
        "device": "$torch.device('cpu')",
        "datalist": "$sorted(glob.glob(@dataset_dir + '/*.nii*'))",
        "network": "$torch.export.unflatten("
        "torch.export.load(@bundle_root + '/models/model.pt2')).to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": before},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': path} for path in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1},
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": list(step.window),
            "sw_batch_size": 1,
            "overlap": step.overlap,
            "mode": step.blending,
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                undone,
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                *after,
                saved,
            ],
        },
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
        },
        "run": ["$@evaluator.run()"],
    }


def _metadata(pipeline: Pipeline, entry: Said) -> Said:
    channels = {"0": "background"} | {str(label.values[0]): label.name for label in pipeline.labels}
    told = versions()
    return {
        "version": "0.1.0",
        "monai_version": told["monai"],
        "pytorch_version": told["torch"],
        "numpy_version": told["numpy"],
        "optional_packages_version": {"nibabel": "", "pytorch-ignite": ""},
        "name": pipeline.name,
        "task": f"segmentation of {', '.join(pipeline.labels.names)}",
        "description": pipeline.description or pipeline.name,
        "authors": "",
        "copyright": "",
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "num_channels": channels_of(pipeline),
                    "spatial_shape": entry["input"][2:],
                    "dtype": "float32",
                    "channel_def": dict(
                        zip(map(str, range(99)), pipeline.input.channels, strict=False)
                    ),
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "num_channels": len(channels),
                    "spatial_shape": entry["output"][2:],
                    "dtype": "float32",
                    "channel_def": channels,
                }
            },
        },
    }
