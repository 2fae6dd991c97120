"""nnU-Net's model folders give nnU-Net's masks: by its rules put down apart, and by itself."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from support.nnunet import Folder, Model

import medseg
from medseg.errors import MedsegError, ModelError, PipelineError
from medseg.io.terms import coded
from medseg.pipeline import dump_pipeline, load_pipeline, pipeline_digest

VOLUME = Model((4, 6, 8), ((1, 1, 1), (2, 2, 2), (1, 2, 2)), ((3, 3, 3), (3, 3, 3), (1, 3, 3)))
SLICE = Model((4, 6, 8), ((1, 1), (2, 2), (2, 2)), ((3, 3),) * 3)
REGIONS = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "active": 3, "ignore": 4}


def scan(place: Path, shape: tuple[int, int, int], sides: tuple[float, float, float]) -> Path:
    """A smooth image with zeros around it, oblique and flipped; ``shape`` is that of the file."""
    random = np.random.default_rng(sum(shape))
    image = gaussian_filter(random.normal(size=shape), 1.5) * 400 + 60
    image[:3], image[:, -2:] = 0, 0
    turn = np.array([[0.98, -0.199, 0], [0.199, 0.98, 0], [0, 0, 1]]) @ np.diag([-1, 1, 1])
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn @ np.diag(sides), (30, -20, 5)
    place.mkdir(parents=True, exist_ok=True)
    path = place / "one_0000.nii.gz"
    nibabel.save(nibabel.Nifti1Image(image.astype(np.float32), affine), path)
    return path


def both(
    folder: Folder, place: Path, shape: tuple[int, int, int], sides: tuple[float, float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Masks by medseg and by the rules, as the file has its axes."""
    paths = [scan(place / "in", shape, sides)]
    for channel in range(1, len(folder.schemes)):
        image = nibabel.load(paths[0])
        other = np.abs(np.asarray(image.dataobj)[::-1] * (channel + 0.5)) % 250
        paths.append(place / "in" / f"one_{channel:04}.nii.gz")
        nibabel.save(nibabel.Nifti1Image(other.astype(np.float32), image.affine), paths[-1])
    model = folder.written(place)
    return by_medseg(model, place), folder.mask_of(array(paths), sides[::-1]).T


def by_medseg(model: Path, place: Path) -> np.ndarray:
    summary = medseg.run(model, input=place / "in", output=place / "out")
    assert not summary.failures, summary.failures
    return np.asarray(nibabel.load(place / "out/masks/one.nii.gz").dataobj)


def array(paths: list[Path]) -> np.ndarray:
    """The channels (C, Z, Y, X), as SimpleITK would give them."""
    return np.stack([np.asarray(nibabel.load(path).dataobj, np.float32).T for path in paths])


def agree(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert len(np.unique(theirs)) > 1
    assert ours.shape == theirs.shape
    assert (ours != theirs).sum() <= 1e-3 * (theirs > 0).sum()


@pytest.mark.parametrize(
    ("folder", "shape", "sides"),
    [
        pytest.param(
            Folder(VOLUME, (6, 16, 12), (2.0, 1.0, 1.1), folds=(0, 1)),
            (21, 30, 11),
            (0.9, 0.8, 2.5),
            id="volumes, two folds",
        ),
        pytest.param(
            Folder(VOLUME, (6, 16, 12), (3.6, 1.0, 1.0), transposed=(1, 0, 2), folds=("all",)),
            (20, 9, 24),
            (0.8, 4.1, 0.9),
            id="thick slices, axes transposed",
        ),
        pytest.param(
            Folder(VOLUME, (8, 12, 12), (1.0, 1.0, 1.0), mirror=None),
            (20, 18, 8),
            (1.0, 0.9, 5.0),
            id="thick slices of the scan alone",
        ),
        pytest.param(
            Folder(SLICE, (16, 12), (1.0, 1.3), mirror=(0, 1), configuration="2d"),
            (17, 26, 7),
            (0.9, 1.2, 4.0),
            id="slices",
        ),
        pytest.param(
            Folder(
                replace(SLICE, residual=True, channels=3),
                (12, 20),
                (1.4, 0.9),
                ("CTNormalization", "ZScoreNormalization", "RescaleTo01Normalization"),
                (False, True, False),
                transposed=(2, 0, 1),
                mirror=(1,),
                configuration="2d",
            ),
            (9, 22, 15),
            (1.1, 1.0, 1.2),
            id="slices, residual, channels by three schemes",
        ),
        pytest.param(
            Folder(
                replace(VOLUME, residual=True, channels=2),
                (6, 12, 12),
                (1.5, 1.2, 1.2),
                ("NoNormalization", "RGBTo01Normalization"),
                (False, False),
                labels=REGIONS,
                order=(1, 2, 3),
                seed=5,
            ),
            (19, 14, 10),
            (1.2, 1.1, 1.3),
            id="regions, residual",
        ),
    ],
)
def test_masks_are_those_of_nnunets_rules(
    tmp_path: Path,
    folder: Folder,
    shape: tuple[int, int, int],
    sides: tuple[float, float, float],
) -> None:
    agree(*both(folder, tmp_path, shape, sides))


def cascade(place: Path) -> tuple[Folder, Folder]:
    first = Folder(VOLUME, (6, 8, 8), (2.0, 2.0, 2.0), configuration="3d_lowres", seed=2)
    second = Folder(
        replace(VOLUME, channels=3),
        (6, 16, 12),
        (1.0, 1.1, 1.1),
        configuration="3d_cascade_fullres",
        previous="3d_lowres",
    )
    first.written(place)
    return first, second


def test_a_cascade_is_told_the_mask_of_its_first_stage(tmp_path: Path) -> None:
    first, second = cascade(tmp_path)
    sides = (0.9, 1.0, 1.4)
    path = scan(tmp_path / "in", (20, 22, 12), sides)
    told = first.mask_of(array([path]), sides[::-1])
    wanted = second.mask_of(array([path]), sides[::-1], told).T
    agree(by_medseg(second.written(tmp_path), tmp_path), wanted)
    without = second.mask_of(array([path]), sides[::-1], np.zeros_like(told)).T
    assert (without != wanted).any()


def test_a_cascade_without_its_first_stage_is_refused_by_name(tmp_path: Path) -> None:
    folder = replace(cascade(tmp_path)[1], configuration="3d_second").written(tmp_path / "alone")
    with pytest.raises(ModelError, match="nnUNetTrainer__nnUNetPlans__3d_lowres") as caught:
        load_pipeline(folder)
    assert caught.value.code == "E_FOREIGN_MODEL"


def in_old_form(folder: Path) -> None:
    """Plans as nnU-Net wrote them before 2.5, with the network's parts in the configuration."""
    said = json.loads((folder / "plans.json").read_text())
    (chosen,) = said["configurations"].values()
    parts = chosen.pop("architecture")["arch_kwargs"]
    chosen |= {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": parts["features_per_stage"][0],
        "unet_max_num_features": parts["features_per_stage"][-1],
        "n_conv_per_stage_encoder": parts["n_conv_per_stage"],
        "n_conv_per_stage_decoder": parts["n_conv_per_stage_decoder"],
        "num_pool_per_axis": [2, 2, 2],
        "pool_op_kernel_sizes": parts["strides"],
        "conv_kernel_sizes": parts["kernel_sizes"],
    }
    (folder / "plans.json").write_text(json.dumps(said))


def test_plans_of_the_old_form_name_the_same_network(tmp_path: Path) -> None:
    folder = Folder(replace(VOLUME, widths=(4, 8, 8)), (6, 12, 12), (1, 1, 1)).written(tmp_path)
    new = load_pipeline(folder)
    in_old_form(folder)
    assert load_pipeline(folder) == new


def test_what_a_folder_says_can_be_written_as_a_pipeline_file(tmp_path: Path) -> None:
    folder = Folder(VOLUME, (6, 12, 12), (2, 1, 1), folds=(0, 3)).written(tmp_path)
    pipeline = load_pipeline(folder)
    (tmp_path / "own.yaml").write_text(dump_pipeline(pipeline))
    again = load_pipeline(tmp_path / "own.yaml")
    assert again == pipeline
    assert pipeline_digest(again) == pipeline_digest(pipeline)
    assert [step.weights.path.parent.name for step in pipeline.inference] == ["fold_0", "fold_3"]


def test_an_option_can_be_said_otherwise(tmp_path: Path) -> None:
    folder = Folder(VOLUME, (6, 12, 12), (2, 1, 1)).written(tmp_path)
    pipeline = load_pipeline(folder, ["inference.0.mirror=[]", "inference.0.overlap=0.25"])
    assert (pipeline.inference[0].mirror, pipeline.inference[0].overlap) == ((), 0.25)


def test_labels_regions_and_channels_come_through(tmp_path: Path) -> None:
    model = replace(VOLUME, channels=2)
    folder = Folder(
        model,
        (6, 12, 12),
        (2, 1, 1),
        ("NoNormalization",) * 2,
        (False,) * 2,
        labels=REGIONS,
        order=(1, 2, 3),
    )
    pipeline = load_pipeline(folder.written(tmp_path))
    assert pipeline.labels.names == ("whole", "core", "active")
    assert pipeline.labels.painted == (1, 2, 3)
    assert pipeline.labels.ignore == 4
    assert pipeline.input.channels == ("c0", "c1")


class Runs:
    """Makes a file where it is unpacked."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return (os.system, (f"touch {self.path}",))


def test_a_checkpoint_that_would_run_something_is_refused_and_runs_nothing(
    tmp_path: Path,
) -> None:
    folder = Folder(VOLUME, (6, 12, 12), (2, 1, 1)).written(tmp_path)
    mark, path = tmp_path / "ran", folder / "fold_0/checkpoint_final.pth"
    held = torch.load(path, weights_only=False)
    torch.save({**held, "logging": Runs(mark)}, path)
    with pytest.raises(ModelError, match=r"system") as caught:
        load_pipeline(folder)
    assert caught.value.code == "E_UNSAFE"
    assert caught.value.path == str(path)
    assert not mark.exists()


def spoilt(folder: Path, file: str, key: str, value: object) -> None:
    said = json.loads((folder / file).read_text())
    place = said
    *way, last = key.split(".")
    for word in way:
        place = place[word]
    place[last] = value
    (folder / file).write_text(json.dumps(said))


PARTS = "configurations.3d_fullres.architecture.arch_kwargs"


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("plans.json", "image_reader_writer", "NaturalImage2DIO"),
        ("plans.json", "transpose_forward", [0, 0, 1]),
        ("plans.json", "label_manager", "MyLabels"),
        ("plans.json", "configurations.3d_fullres.preprocessor_name", "MyPreprocessor"),
        ("plans.json", "configurations.3d_fullres.normalization_schemes", ["MyScheme"]),
        ("plans.json", "configurations.3d_fullres.use_mask_for_norm", [True, True]),
        ("plans.json", "configurations.3d_fullres.patch_size", [8]),
        ("plans.json", "configurations.3d_fullres.spacing", [1, 1]),
        ("plans.json", "configurations.3d_fullres.resampling_fn_data", "my_resampling"),
        ("plans.json", "configurations.3d_fullres.inherits_from", "3d_fullres"),
        ("plans.json", "configurations.3d_fullres.architecture.network_class_name", "os.system"),
        ("plans.json", f"{PARTS}.nonlin", "torch.nn.Tanh"),
        ("plans.json", f"{PARTS}.norm_op", "torch.nn.LayerNorm"),
        ("plans.json", f"{PARTS}.norm_op_kwargs", {"eps": 0.1, "affine": True}),
        ("plans.json", f"{PARTS}.strides", [[2, 2, 2], [2, 2, 2], [1, 2, 2]]),
        ("plans.json", f"{PARTS}.squeeze_excitation", True),
        ("plans.json", f"{PARTS}.features_per_stage", [4, 6]),
        ("dataset.json", "labels", {"background": 0, "a": 1, "b": 3}),
        ("dataset.json", "labels", {"background": 0, "a": "1"}),
        ("dataset.json", "labels", {"background": 0, "a": [1, 2], "b": 2}),
        ("dataset.json", "channel_names", {}),
    ],
)
def test_what_medseg_does_not_do_is_refused_with_file_and_key(
    tmp_path: Path, file: str, key: str, value: object
) -> None:
    folder = Folder(VOLUME, (6, 12, 12), (2, 1, 1)).written(tmp_path)
    spoilt(folder, file, key, value)
    with pytest.raises(MedsegError) as caught:
        load_pipeline(folder)
    assert caught.value.code == "E_FOREIGN_MODEL"
    assert caught.value.path == str(folder / file)
    wanted = "regions_class_order" if value == {"background": 0, "a": [1, 2], "b": 2} else key
    assert wanted.rpartition(".inherits")[0] in caught.value.message
    assert wanted.partition(".inherits")[0] in caught.value.message


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 100_000])
def test_a_plan_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    folder = Folder(VOLUME, (6, 12, 12), (2, 1, 1)).written(tmp_path)
    (folder / "plans.json").write_text(text)
    with pytest.raises(ModelError, match=r"JSON|mapping") as caught:
        load_pipeline(folder)
    assert caught.value.code == "E_FOREIGN_MODEL"


def test_a_folder_without_a_final_checkpoint_is_refused(tmp_path: Path) -> None:
    folder = Folder(VOLUME, (6, 12, 12), (2, 1, 1)).written(tmp_path)
    (folder / "fold_0/checkpoint_final.pth").rename(folder / "fold_0/checkpoint_best.pth")
    with pytest.raises(ModelError, match="checkpoint_final") as caught:
        load_pipeline(folder)
    assert caught.value.code == "E_FOREIGN_MODEL"


def test_a_folder_near_a_model_is_refused_with_what_may_be_meant(tmp_path: Path) -> None:
    folder = Folder(VOLUME, (6, 12, 12), (2, 1, 1)).written(tmp_path / "Dataset999_Tiny")
    with pytest.raises(PipelineError, match=r"one fold .*__3d_fullres$"):
        load_pipeline(folder / "fold_0")
    with pytest.raises(PipelineError, match=rf"name one: {folder.name}$"):
        load_pipeline(folder.parent)
    with pytest.raises(PipelineError, match=rf"name one: {folder.parent.name}/{folder.name}$"):
        load_pipeline(tmp_path)


def test_a_model_of_nnunet_v1_is_refused_and_its_pickle_is_not_opened(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    (tmp_path / "plans.pkl").write_bytes(pickle.dumps(Runs(mark)))
    with pytest.raises(PipelineError, match=r"nnU-Net v1"):
        load_pipeline(tmp_path)
    assert not mark.exists()


ORGANS = ("spleen", "kidney_right", "kidney_left", "liver", "vertebrae_S1", "rib_left_4")


def as_of_totalsegmentator(folder: Path) -> None:
    """Plans of the first 2.0, a fingerprint by modality, and a checkpoint without mirroring."""
    in_old_form(folder)
    said = json.loads((folder / "plans.json").read_text())
    said["foreground_intensity_properties_by_modality"] = said.pop(
        "foreground_intensity_properties_per_channel"
    )
    said["original_median_spacing_after_transp"] = [1.5, 1.5, 1.5]
    said["experiment_planner_used"] = "ExperimentPlanner"
    (chosen,) = said["configurations"].values()
    chosen |= {"median_image_size_in_voxels": [231.0, 206.0, 220.0], "batch_dice": False}
    (folder / "plans.json").write_text(json.dumps(said))
    labels = {"background": 0, **{name: value for value, name in enumerate(ORGANS, 1)}}
    described = {
        "name": "TotalSegmentator part of six",
        "description": "by nnU-Net",
        "reference": "nowhere",
        "licence": "Apache 2.0",
        "release": "2.0",
        "channel_names": {"0": "CT"},
        # In no order: what counts is the number.
        "labels": dict(sorted(labels.items())),
        "numTraining": 1139,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "NibabelIOWithReorient",
    }
    (folder / "dataset.json").write_text(json.dumps(described))
    path = folder / "fold_0/checkpoint_final.pth"
    held = torch.load(path, weights_only=False)
    held |= {"trainer_name": "nnUNetTrainerNoMirroring", "inference_allowed_mirroring_axes": None}
    torch.save(held, path)


def test_a_folder_as_totalsegmentators_are_keeps_its_labels_and_their_codes(
    tmp_path: Path,
) -> None:
    model = replace(VOLUME, widths=(4, 8, 8), labels=1 + len(ORGANS))
    rules = Folder(model, (8, 12, 12), (1.5, 1.5, 1.5), ("CTNormalization",), mirror=None)
    folder = rules.written(tmp_path)
    as_of_totalsegmentator(folder)
    pipeline = load_pipeline(folder)
    assert pipeline.labels.names == ORGANS
    assert [label.values for label in pipeline.labels] == [(n,) for n in range(1, 7)]
    assert [coded(label).side for label in pipeline.labels][1] == ("SCT:24028007", "Right")
    assert coded(pipeline.labels["rib_left_4"]).type == ("SCT:25523003", "Fourth rib")
    assert pipeline.inference[0].mirror == ()
    path = scan(tmp_path / "in", (20, 22, 18), (1.6, 1.4, 2.0))
    ours = by_medseg(folder, tmp_path)
    named = replace(rules, labels={"background": 0, **dict(zip(ORGANS, range(1, 7), strict=True))})
    agree(ours, named.mask_of(array([path]), (2.0, 1.4, 1.6)).T)


def test_weights_of_another_network_than_the_plan_names_are_refused(tmp_path: Path) -> None:
    folder = Folder(VOLUME, (6, 12, 12), (2, 1, 1)).written(tmp_path)
    spoilt(folder, "plans.json", f"{PARTS}.features_per_stage", [4, 6, 10])
    scan(tmp_path / "in", (12, 12, 12), (1, 1, 1))
    with pytest.raises(ModelError, match="shape") as caught:
        medseg.run(folder, input=tmp_path / "in", output=tmp_path / "out")
    assert caught.value.code == "E_CHECKPOINT"


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("nnunetv2"), reason="nnunetv2 is not here")
def test_masks_are_those_of_nnunet_itself(tmp_path: Path) -> None:
    folder = Folder(VOLUME, (6, 16, 12), (3.6, 1.0, 1.1), folds=(0, 1))
    scan(tmp_path / "in", (21, 30, 11), (0.9, 0.8, 2.5))
    model = folder.written(tmp_path)
    call = "from nnunetv2.inference.predict_from_raw_data import predict_entry_point_modelfolder"
    options = ["-i", tmp_path / "in", "-o", tmp_path / "theirs", "-m", model, "-f", "0", "1"]
    quiet = ["-device", "cpu", "-npp", "1", "-nps", "1", "--disable_progress_bar"]
    command = [sys.executable, "-c", f"{call} as p; p()", *map(str, options), *quiet]
    subprocess.run(command, check=True, capture_output=True)
    theirs = nibabel.load(tmp_path / "theirs/one.nii.gz")
    agree(by_medseg(model, tmp_path), np.asarray(theirs.dataobj))
