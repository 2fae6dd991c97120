"""Seconds and memory from file to file, beside nnU-Net's predictor and MONAI's inferer.

    python benchmarks/inference.py [--size full] [--classes 14] [--only ROLE ...] [--rounds N]
        [--work FOLDER] [--nnunet PYTHON]

One network with one set of weights segments one CT phantom (512 x 512 x 300 voxels, the generator
of sample_data) in every role, each in a process of its own and the roles in turn:

    torch, torch_bf16, openvino, openvino_bf16, onnxruntime    medseg run, by engine
    openvino_body    the same, with the box around the body cut out first
    monai     the same module under SlidingWindowInferer, and Invertd back to the scan's grid
    nnunet    the same module under nnunetv2's nnUNetPredictor; --nnunet names a Python that has it

The windows are 96 voxels a side at 1.5 mm with half of each shared, without mirroring. With more
than 14 classes the network's last layer is continued by labels that never win, with fewer it is
cut. --size wide has as much air
beside the phantom, which else fills its scan. Weights are trained on other phantoms first, for
--minutes, if the work folder has none. The table is printed, the stages of each role with it, and
written to WORK/inference.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
ENGINES = {
    "torch": ("torch", "float32"),
    "torch_bf16": ("torch", "bfloat16"),
    "openvino": ("openvino", "float32"),
    "openvino_bf16": ("openvino", "bfloat16"),
    "onnxruntime": ("onnxruntime", "float32"),
}
ROLES = (*ENGINES, "openvino_body", "monai", "nnunet")
BODY = -400.0
"""Hounsfield units that are above those of air and clothes."""
SIZES = {"small": "128 x 104 x 60", "full": "512 x 512 x 300", "wide": "724 x 724 x 300"}
SPACING, WINDOW, RANGE = 1.5, 96, (-300.0, 500.0)
TRAINED = 14
NETWORK = "{name: dynunet, widths: [16, 32, 64, 128], norm: batch, deep_supervision: 1}"
PIPELINE = """name: inference
labels: {labels}
preprocess:
  - orientation: {{axcodes: RAS}}
  - spacing: {{pixdim: [{spacing}, {spacing}, {spacing}]}}
  - scale_intensity_range: {{a_min: {low}, a_max: {high}, b_min: -1, b_max: 1, clip: true}}
inference:
  - sliding_window:
      model: {network}
      weights: {weights}
      window: [{window}, {window}, {window}]
      overlap: 0.5
      engine: {engine}
      precision: {precision}
"""


def main() -> None:
    """Make what is missing, let every role work in turn, tell."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--size", choices=tuple(SIZES), default="full")
    asked.add_argument("--classes", type=int, default=TRAINED)
    asked.add_argument("--only", nargs="+", choices=ROLES, default=ROLES)
    asked.add_argument("--rounds", type=int, default=1)
    asked.add_argument("--minutes", type=float, default=15)
    asked.add_argument("--work", type=Path, default=Path("out/inference"))
    asked.add_argument("--most-gib", type=float, default=22)
    asked.add_argument("--nnunet", default=sys.executable)
    asked.add_argument("--picture", type=Path, help="draw where the time goes, as SVG or PNG")
    asked.add_argument("--role", choices=ROLES, help=argparse.SUPPRESS)
    options = asked.parse_args()
    work = options.work.absolute()
    scan, weights = work / f"{options.size}.nii.gz", work / f"weights_{options.classes}.safetensors"
    if options.role:
        told = {"monai": by_monai, "nnunet": by_nnunet}.get(options.role, by_medseg)
        print("TOLD " + json.dumps(told(options.role, scan, weights, options.classes, work)))
        return
    work.mkdir(parents=True, exist_ok=True)
    make_scan(options.size, scan)
    make_weights(options.minutes, options.classes, weights, work)
    found: dict[str, list[dict[str, Any]]] = {role: [] for role in options.only}
    for _ in range(options.rounds):
        for role in options.only:
            found[role].append(measured(role, options))
            print(f"{role}: {found[role][-1]}", flush=True)
    rows = tabled(found, work)
    print("\n".join(rows))
    (work / f"inference_{options.classes}.json").write_text(json.dumps(found, indent=1))
    if options.picture:
        draw(found, options)


def make_scan(size: str, path: Path) -> None:
    """A CT that no training has seen."""
    if path.exists():
        return
    if size == "wide":
        make_scan("full", path.with_name("full.nii.gz"))
        widen(path.with_name("full.nii.gz"), path)
        return
    sys.path.insert(0, str(REPOSITORY / "sample_data"))
    from make import phantom, write

    made = phantom("ct", 4321, size, "all")
    write(made, path.parent / size, "scan")
    (path.parent / size / "images/scan.nii.gz").rename(path)


def widen(scan: Path, path: Path) -> None:
    """The same scan with so much air beside it that half of each slice is air."""
    import nibabel as nib

    image = nib.load(scan)
    voxels = np.asarray(image.dataobj)
    beside = [round((2**0.5 - 1) / 2 * voxels.shape[0])] * 2
    wide = np.pad(voxels, [*((n, n) for n in beside), (0, 0)], constant_values=voxels.min())
    affine = image.affine.copy()
    affine[:3, 3] -= affine[:3, :2] @ beside
    nib.save(nib.Nifti1Image(wide, affine), path)


def make_weights(minutes: float, classes: int, path: Path, work: Path) -> None:
    """A network that knows the phantoms' 14 labels, and for more classes knows no more."""
    from safetensors.numpy import load_file, save_file

    trained = work / "model/weights.safetensors"
    if not trained.exists():
        phantoms, pipeline = work / "phantoms", work / "train.yaml"
        maker = [sys.executable, str(REPOSITORY / "sample_data/make.py"), "--modality", "ct"]
        wanted = ["--labels", "all", "--count", "24", "--seed", "7000", "--output", str(phantoms)]
        if not phantoms.exists():
            subprocess.run([*maker, *wanted], check=True)
        text = pipeline_text("torch", "float32", TRAINED, Path("none"))
        text = text.replace("      weights: none\n", "").replace("float32", "bfloat16")
        recipe = (
            f"training: {{max_minutes: {minutes}, patch: [64, 64, 64], batch: 2, validate: 0,"
            " learning_rate: 2e-3}\n"
        )
        pipeline.write_text(text + recipe)
        run = [sys.executable, "-m", "medseg", "train", str(pipeline)]
        where = ["--input", str(phantoms / "images/{study}.nii.gz"), "--output"]
        where += [str(work / "model"), "--reference", str(phantoms / "labels/{study}.nii.gz")]
        subprocess.run([*run, *where], check=True)
    state = load_file(trained)
    for key, one in state.items():
        # The last layers: those that give as many numbers as there are labels and background.
        if (
            one.ndim
            and len(one) == TRAINED + 1
            and ("head" in key or "output" in key or "logits" in key)
        ):
            more = np.zeros((max(0, classes - TRAINED), *one.shape[1:]), one.dtype)
            longer = np.concatenate([one, more - (50 if one.ndim == 1 else 0)])
            state[key] = longer[: classes + 1]
    save_file(state, path)


def pipeline_text(engine: str, precision: str, classes: int, weights: Path) -> str:
    """The pipeline of medseg's roles."""
    labels = ", ".join(f"label_{n:03d}: {n}" for n in range(1, classes + 1))
    return PIPELINE.format(
        labels=f"{{{labels}}}",
        spacing=SPACING,
        low=RANGE[0],
        high=RANGE[1],
        network=NETWORK,
        weights=weights,
        window=WINDOW,
        engine=engine,
        precision=precision,
    )


def measured(role: str, options: argparse.Namespace) -> dict[str, Any]:
    """One role in a process of its own: wall seconds, peak memory, and what it tells itself."""
    python = options.nnunet if role == "nnunet" else sys.executable
    words = [python, __file__, "--role", role, "--size", options.size]
    words += ["--classes", str(options.classes), "--work", str(options.work)]
    begun = time.perf_counter()
    # What does not fit into this much ends in an error, and not in other programs' end.
    limited = ["prlimit", f"--data={int(options.most_gib * 2**30)}", *words]
    with subprocess.Popen(limited, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = process.stdout.read().splitlines()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    told = next((json.loads(line[5:]) for line in lines if line.startswith("TOLD ")), {})
    return {
        "seconds": round(time.perf_counter() - begun, 2),
        "peak_gib": round(usage.ru_maxrss / 2**20, 2),
        "exit": process.returncode,
        **told,
    }


def by_medseg(role: str, scan: Path, weights: Path, classes: int, work: Path) -> dict[str, Any]:
    """``medseg.run``, file to file."""
    begun = time.perf_counter()
    import resource

    import torch

    import medseg

    imports = time.perf_counter() - begun
    del torch
    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    engine, precision = ENGINES[role.removesuffix("_body")]
    pipeline, output = work / f"{role}.yaml", work / f"out_{role}"
    text = pipeline_text(engine, precision, classes, weights)
    if role.endswith("_body"):
        cut = f"  - crop_foreground: {{threshold: {BODY}}}\n"
        text = text.replace("  - spacing", f"{cut}  - spacing")
    pipeline.write_text(text)
    result = medseg.run(pipeline, input=scan, output=output, overwrite=True)
    (outcome,) = result.outcomes
    if outcome.error is not None:
        raise outcome.error
    mask = output / "masks" / f"{outcome.name}.nii.gz"
    stages = {"imports": round(imports, 2), **outcome.record["seconds"]}
    return {"stages": stages, "mask": str(mask), "imports_gib": round(held, 2)}


def network(weights: Path, classes: int) -> Any:
    """The module that every role asks."""
    from medseg.models import DynUNet
    from medseg.models.weights import load_weights

    options = DynUNet(widths=(16, 32, 64, 128), norm="batch", deep_supervision=1)
    module = options(1, classes + 1)
    load_weights(module, weights)
    return module.eval().requires_grad_(False)


def by_monai(_: str, scan: Path, weights: Path, classes: int, work: Path) -> dict[str, Any]:
    """MONAI's own way: its transforms, SlidingWindowInferer, Invertd, AsDiscrete, SaveImage."""
    clock, stages = time.perf_counter, {}
    begun = clock()
    import torch
    from monai.data import MetaTensor, decollate_batch
    from monai.inferers import SlidingWindowInferer
    from monai.transforms import (
        AsDiscreted,
        Compose,
        EnsureChannelFirstd,
        Invertd,
        LoadImaged,
        Orientationd,
        SaveImaged,
        ScaleIntensityRanged,
        Spacingd,
    )

    stages["imports"] = clock() - begun
    module = network(weights, classes)
    before = Compose(
        [
            LoadImaged("image"),
            EnsureChannelFirstd("image"),
            Orientationd("image", axcodes="RAS"),
            Spacingd("image", pixdim=(SPACING,) * 3, mode="bilinear"),
            ScaleIntensityRanged("image", *RANGE, -1, 1, clip=True),
        ]
    )
    after = Compose(
        [
            Invertd("pred", transform=before, orig_keys="image", nearest_interp=False),
            AsDiscreted("pred", argmax=True),
            SaveImaged("pred", output_dir=work / "out_monai", separate_folder=False),
        ]
    )
    begun = clock()
    data = before({"image": str(scan)})
    stages["read and preprocess"] = clock() - begun
    begun = clock()
    inferer = SlidingWindowInferer((WINDOW,) * 3, sw_batch_size=1, overlap=0.5, mode="gaussian")
    with torch.inference_mode():
        said = inferer(data["image"][None], module)
    stages["inference"] = clock() - begun
    begun = clock()
    data["pred"] = MetaTensor(said[0].as_tensor(), meta=data["image"].meta)
    data["pred"].applied_operations = data["image"].applied_operations
    after(data)
    del decollate_batch
    stages["decision and write"] = clock() - begun
    (mask,) = sorted((work / "out_monai").glob("*.nii.gz"))
    return {"stages": {key: round(one, 2) for key, one in stages.items()}, "mask": str(mask)}


def by_nnunet(_: str, scan: Path, weights: Path, classes: int, work: Path) -> dict[str, Any]:
    """nnunetv2's predictor on the same module: its reading, resampling, windows and export."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ[name] = str(work)
    clock, stages = time.perf_counter, {}
    begun = clock()
    import torch
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
    from nnunetv2.inference.export_prediction import export_prediction_from_logits
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    stages["imports"] = clock() - begun
    dataset = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **{f"label_{n:03d}": n for n in range(1, classes + 1)}},
        "file_ending": ".nii.gz",
    }
    plans = PlansManager(nnunet_plans())
    module = network(weights, classes)
    predictor = nnUNetPredictor(
        tile_step_size=0.5,
        use_mirroring=False,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    predictor.manual_initialization(
        module,
        plans,
        plans.get_configuration("3d_fullres"),
        [module.state_dict()],
        dataset,
        "nnUNetTrainer",
        None,
    )
    begun = clock()
    image, properties = SimpleITKIO().read_images([str(scan)])
    prepare = predictor.configuration_manager.preprocessor_class(verbose=False)
    data, *_ = prepare.run_case_npy(
        image, None, properties, plans, predictor.configuration_manager, dataset
    )
    stages["read and preprocess"] = clock() - begun
    begun = clock()
    logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data))
    stages["inference"] = clock() - begun
    begun = clock()
    mask = work / "out_nnunet"
    export_prediction_from_logits(
        logits, properties, predictor.configuration_manager, plans, dataset, str(mask)
    )
    stages["decision and write"] = clock() - begun
    return {
        "stages": {key: round(one, 2) for key, one in stages.items()},
        "mask": f"{mask}.nii.gz",
    }


def nnunet_plans() -> dict[str, Any]:
    """Plans as nnU-Net would have written them for this network."""
    resampling = "resample_data_or_seg_to_shape"
    low, high = RANGE
    return {
        "dataset_name": "Phantoms",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": [SPACING] * 3,
        "original_median_shape_after_transp": [200, 256, 256],
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        # Clipped to the range, and brought to -1 to 1 as the other roles have it.
        "foreground_intensity_properties_per_channel": {
            "0": {
                "mean": (low + high) / 2,
                "std": (high - low) / 2,
                "percentile_00_5": low,
                "percentile_99_5": high,
            }
        },
        "configurations": {
            "3d_fullres": {
                "data_identifier": "nnUNetPlans_3d_fullres",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 2,
                "patch_size": [WINDOW] * 3,
                "median_image_size_in_voxels": [200, 256, 256],
                "spacing": [SPACING] * 3,
                "normalization_schemes": ["CTNormalization"],
                "use_mask_for_norm": [False],
                "resampling_fn_data": resampling,
                "resampling_fn_seg": resampling,
                "resampling_fn_probabilities": resampling,
                "resampling_fn_data_kwargs": {
                    "is_seg": False,
                    "order": 3,
                    "order_z": 0,
                    "force_separate_z": None,
                },
                "resampling_fn_seg_kwargs": {
                    "is_seg": True,
                    "order": 1,
                    "order_z": 0,
                    "force_separate_z": None,
                },
                "resampling_fn_probabilities_kwargs": {
                    "is_seg": False,
                    "order": 1,
                    "order_z": 0,
                    "force_separate_z": None,
                },
                "batch_dice": False,
                # Asked for by the reader of plans; the network itself is handed over.
                "architecture": {
                    "network_class_name": "torch.nn.Identity",
                    "arch_kwargs": {},
                    "_kw_requires_import": [],
                },
            }
        },
    }


def draw(found: dict[str, list[dict[str, Any]]], options: argparse.Namespace) -> None:
    """A bar a role, of the seconds of its stages."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    done = {role: runs[0]["stages"] for role, runs in found.items() if "stages" in runs[0]}
    kinds = {
        "imports": ("imports", "#bbbbbb"),
        "read": ("read, preprocess", "#7fb3d5"),
        "read and preprocess": ("read, preprocess", "#7fb3d5"),
        "preprocess": ("read, preprocess", "#7fb3d5"),
        "inference": ("windows and network", "#1b5e87"),
        "decision": ("decide, write", "#d95f02"),
        "decision and write": ("decide, write", "#d95f02"),
        "write": ("decide, write", "#d95f02"),
    }
    figure, axes = plt.subplots(figsize=(8, 0.5 * len(done) + 1.3))
    named: set[str] = set()
    for row, stages in enumerate(done.values()):
        left = 0.0
        in_order = sorted(stages.items(), key=lambda one: [*kinds, one[0]].index(one[0]))
        for stage, seconds in in_order:
            name, colour = kinds.get(stage, ("other", "#444444"))
            label = None if name in named or seconds < 0.005 else name
            named |= {name} if label else set()
            axes.barh(row, seconds, left=left, color=colour, label=label, height=0.65)
            left += seconds
        axes.text(left, row, f" {left:.0f} s", va="center", fontsize=9)
    axes.set_yticks(range(len(done)), list(done))
    axes.invert_yaxis()
    axes.set_xlabel("seconds, from file to file")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    axes.set_title(f"{options.classes} labels, CT of {SIZES[options.size]} voxels", fontsize=10)
    figure.tight_layout()
    figure.savefig(options.picture)


def tabled(found: dict[str, list[dict[str, Any]]], work: Path) -> list[str]:
    """Rows of Markdown: medians, and how far each mask is from that of torch in float32."""
    import nibabel as nib

    rows = ["| role | seconds | peak GiB | voxels that differ from torch | stages |"]
    rows.append("|---|---:|---:|---:|---|")
    first = next((runs[0] for runs in found.values() if "mask" in runs[0]), None)
    known = found.get("torch", [first])[0] or {}
    base = np.asarray(nib.load(known["mask"]).dataobj) if "mask" in known else None
    for role, runs in found.items():
        differ = "-"
        if base is not None and "mask" in runs[0]:
            other = np.asarray(nib.load(runs[0]["mask"]).dataobj)
            differ = f"{100 * np.mean(other.reshape(base.shape) != base):.4f} %"
        stages = ", ".join(f"{key} {one:.1f}" for key, one in runs[0].get("stages", {}).items())
        rows.append(
            f"| {role} | {median(run['seconds'] for run in runs):.1f}"
            f" | {max(run['peak_gib'] for run in runs):.2f} | {differ} | {stages} |"
        )
    del work
    return rows


if __name__ == "__main__":
    main()
