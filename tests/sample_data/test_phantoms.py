"""The phantoms: the same by seed, in the right place, with the right densities and sizes."""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

SAMPLES = Path(__file__).resolve().parents[2] / "sample_data"
sys.path.insert(0, str(SAMPLES))

import make  # noqa: E402 - the folder is on the path from here on
from phantoms import ct, mr  # noqa: E402
from phantoms.scanner import Phantom, ct_phantom, mr_phantom  # noqa: E402


@pytest.fixture(scope="module")
def abdomen() -> Phantom:
    return ct_phantom(3)


@pytest.fixture(scope="module")
def head() -> Phantom:
    return mr_phantom(2)


def volume_ml(made: Phantom, value: int) -> float:
    voxel_ml = abs(np.linalg.det(made.affine[:3, :3])) / 1000
    return float((made.labels == value).sum() * voxel_ml)


def centre_mm(made: Phantom, value: int) -> np.ndarray:
    index = np.argwhere(made.labels == value).mean(0)
    return made.affine[:3, :3] @ index + made.affine[:3, 3]


def test_the_same_seed_is_the_same_patient(head: Phantom) -> None:
    again = mr_phantom(2)
    assert np.array_equal(again.image, head.image)
    assert np.array_equal(again.labels, head.labels)


def test_another_seed_is_another_patient(abdomen: Phantom) -> None:
    assert (ct_phantom(4).labels != abdomen.labels).any()


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("liver", 800, 2300),
        ("spleen", 60, 400),
        ("kidney_right", 80, 260),
        ("kidney_left", 80, 260),
        ("spine", 300, 900),
    ],
)
def test_organs_have_the_volumes_of_adults(
    abdomen: Phantom, name: str, least: float, most: float
) -> None:
    assert least < volume_ml(abdomen, ct.LABELS[name]) < most


def test_the_head_holds_what_a_head_holds(head: Phantom) -> None:
    assert 1000 < volume_ml(head, mr.LABELS["brain"]) < 2200
    assert 10 < volume_ml(head, mr.LABELS["ventricles"]) < 90
    assert 0.5 < volume_ml(head, mr.LABELS["lesion"]) < 60


def test_right_is_right_however_the_file_is_stored(abdomen: Phantom) -> None:
    """In RAS+ x grows to the patient's right; this seed is stored LPS."""
    assert abdomen.affine[0, 0] < 0
    assert centre_mm(abdomen, ct.LABELS["kidney_right"])[0] > 30
    assert centre_mm(abdomen, ct.LABELS["kidney_left"])[0] < -30
    assert centre_mm(abdomen, ct.LABELS["liver"])[0] > 10
    assert centre_mm(abdomen, ct.LABELS["spleen"])[0] < -30


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [("liver", 90, 125), ("spleen", 100, 140), ("kidney_left", 110, 200)],
)
def test_organs_have_their_densities(
    abdomen: Phantom, name: str, least: float, most: float
) -> None:
    assert least < np.median(abdomen.image[abdomen.labels == ct.LABELS[name]]) < most


def test_tumours_are_darker_than_the_liver_but_not_by_much(abdomen: Phantom) -> None:
    liver = np.median(abdomen.image[abdomen.labels == ct.LABELS["liver"]])
    tumour = np.median(abdomen.image[abdomen.labels == ct.LABELS["tumour"]])
    assert 15 < liver - tumour < 65


def test_air_around_the_patient_is_air(abdomen: Phantom) -> None:
    assert abs(np.median(abdomen.image[:4, :4]) + 1000) < 15


def test_the_head_lies_obliquely_in_its_grid(head: Phantom) -> None:
    directions = head.affine[:3, :3] / np.linalg.norm(head.affine[:3, :3], axis=0)
    off = np.degrees(np.arccos(np.abs(directions).max(0)))
    assert off.max() > 5


@pytest.mark.parametrize("kind", ["images", "labels"])
@pytest.mark.parametrize("name", ["ct_0002", "mr_0001"])
def test_samples_carry_the_codes_of_a_scanner(kind: str, name: str) -> None:
    header = nib.load(SAMPLES / name[:2] / kind / f"{name}.nii.gz").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    assert header.get_xyzt_units()[0] == "mm"
    assert np.allclose(header.get_qform(), header.get_sform(), atol=1e-3)


def test_joint_labels_of_a_head_follow_those_of_an_abdomen(head: Phantom) -> None:
    joint = make.phantom("mr", 2, "small", "joint").labels
    assert np.array_equal(joint > 0, head.labels > 0)
    assert np.array_equal(np.unique(joint), [0, 7, 8, 9])


def test_sets_to_train_on_hold_none_of_the_samples() -> None:
    first = make.arguments([]).seed
    assert all(seed < first for seeds in make.SAMPLES.values() for seed in seeds)


def test_all_fourteen_labels_are_there_on_request() -> None:
    made = ct_phantom(5, every_label=True)
    assert set(np.unique(made.labels)) == set(range(15))


@pytest.mark.parametrize(
    ("modality", "seed"), [("ct", 1), ("ct", 2), ("ct", 3), ("mr", 1), ("mr", 2)]
)
def test_the_committed_samples_can_be_made_again(modality: str, seed: int) -> None:
    made = ct_phantom(seed) if modality == "ct" else mr_phantom(seed)
    name = f"{modality}_{seed:04d}.nii.gz"
    image = nib.load(SAMPLES / modality / "images" / name)
    labels = np.asarray(nib.load(SAMPLES / modality / "labels" / name).dataobj)
    shift = len(ct.LABELS) if modality == "mr" else 0
    assert np.array_equal(image.affine, made.affine)
    # Another platform's sine may differ in the last bit, and so a voxel on a surface.
    assert (labels != np.where(made.labels, made.labels + shift, 0)).mean() < 1e-4
    assert (np.abs(np.asarray(image.dataobj).astype(int) - made.image) > 1).mean() < 1e-3


def test_the_samples_stay_small() -> None:
    assert sum(path.stat().st_size for path in SAMPLES.glob("??/*/*.nii.gz")) < 6_000_000
    pictures = list((SAMPLES.parent / "docs" / "pictures").glob("phantoms_*.png"))
    assert len(pictures) == 2
    assert sum(path.stat().st_size for path in pictures) < 400_000
