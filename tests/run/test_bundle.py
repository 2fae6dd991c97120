"""MONAI bundles are read, never run, and give MONAI's masks."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.inferers import SlidingWindowInferer
from monai.networks.nets import UNet
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    Invertd,
    LoadImaged,
    NormalizeIntensityd,
    Orientationd,
    ScaleIntensityRanged,
    Spacingd,
)
from scipy.ndimage import gaussian_filter

import medseg
from medseg.errors import ModelError
from medseg.pipeline import load_pipeline

NET = {"channels": [4, 8, 8], "strides": [2, 2], "num_res_units": 1, "norm": "batch"}
CONFIG: dict[str, Any] = {
    "bundle_root": ".",
    "spatial": 3,
    "key": "image",
    "device": "$torch.device('cpu')",
    "output_dir": "$@bundle_root + '/eval'",
    "network_def": {
        "_target_": "UNet",
        "spatial_dims": "@spatial",
        "in_channels": 1,
        "out_channels": 3,
        **NET,
    },
    "network": "$@network_def.to(@device)",
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "@key"},
            {"_target_": "EnsureChannelFirstd", "keys": "@key"},
            {"_target_": "Orientationd", "keys": ["@key"], "axcodes": "RAS"},
            {"_target_": "Spacingd", "keys": "@key", "pixdim": [1.2, 1, 1.3], "mode": ["bilinear"]},
            {
                "_target_": "monai.transforms.ScaleIntensityRanged",
                "keys": "image",
                "a_min": -90,
                "a_max": 80,
                "b_min": 0,
                "b_max": 1,
                "clip": True,
            },
            {"_target_": "NormalizeIntensityd", "keys": "image", "nonzero": True},
            {"_target_": "RandFlipd", "keys": "image", "_disabled_": True},
            {"_target_": "EnsureTyped", "keys": "@key", "device": "@device"},
        ],
    },
    "inferer": {
        "_target_": "SlidingWindowInferer",
        "roi_size": [32, 32, 32],
        "sw_batch_size": 2,
        "overlap": 0.5,
        "sw_device": "@device",
    },
    "postprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing"},
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            {
                "_target_": "SaveImaged",
                "keys": "pred",
                "meta_keys": "pred_meta_dict",
                "output_dir": "@output_dir",
            },
        ],
    },
}
METADATA: dict[str, Any] = {
    "name": "two things",
    "network_data_format": {
        "inputs": {"image": {"num_channels": 1, "channel_def": {"0": "image"}}},
        "outputs": {"pred": {"channel_def": {"0": "background", "1": "a", "2": "b"}}},
    },
}


def network() -> torch.nn.Module:
    torch.manual_seed(3)
    return UNet(spatial_dims=3, in_channels=1, out_channels=3, **NET).eval()


def bundle(place: Path, config: dict[str, Any] = CONFIG) -> Path:
    folder = place / "bundle"
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs/inference.json").write_text(json.dumps(config))
    (folder / "configs/metadata.json").write_text(json.dumps(METADATA))
    torch.save(network().state_dict(), folder / "models/model.pt")
    return folder


def changed(way: str, value: Any) -> dict[str, Any]:
    """The config with another value at a place."""
    config: Any = json.loads(json.dumps(CONFIG))
    place, (*words, last) = config, way.split("::")
    for word in words:
        place = place[int(word)] if isinstance(place, list) else place[word]
    place[int(last) if isinstance(place, list) else last] = value
    return config


def scan(place: Path) -> Path:
    image = gaussian_filter(np.random.default_rng(5).normal(size=(21, 18, 24)), 1.5) * 300
    place.mkdir()
    path = place / "one.nii.gz"
    nibabel.save(nibabel.Nifti1Image(image.astype(np.float32), np.diag([-1, -1, 1.1, 1])), path)
    return path


def by_monai(path: Path) -> np.ndarray:
    """The mask as MONAI's own classes make it, called one by one."""
    before = Compose(
        [
            LoadImaged("image"),
            EnsureChannelFirstd("image"),
            Orientationd("image", "RAS", labels=None),
            Spacingd("image", (1.2, 1, 1.3), mode="bilinear"),
            ScaleIntensityRanged("image", -90, 80, 0, 1, clip=True),
            NormalizeIntensityd("image", nonzero=True),
        ]
    )
    item = before({"image": str(path)})
    with torch.no_grad():
        said = SlidingWindowInferer((32, 32, 32), overlap=0.5)(item["image"][None], network())
    item["pred"] = said[0].softmax(0)
    back = Invertd("pred", before, orig_keys="image", nearest_interp=False)
    return back(item)["pred"].argmax(0).numpy()


@pytest.mark.filterwarnings("ignore")
def test_a_bundle_gives_the_mask_that_monai_gives(tmp_path: Path) -> None:
    path = scan(tmp_path / "in")
    summary = medseg.run(bundle(tmp_path), input=path, output=tmp_path / "out")
    assert not summary.failures, summary.failures
    ours = np.asarray(nibabel.load(tmp_path / "out/masks/one.nii.gz").dataobj)
    theirs = by_monai(path)
    assert len(np.unique(theirs)) > 1
    assert (ours == theirs).mean() >= 0.999


def test_labels_and_network_are_those_of_the_bundle(tmp_path: Path) -> None:
    pipeline = load_pipeline(bundle(tmp_path))
    assert pipeline.labels.names == ("a", "b")
    assert pipeline.inference[0].model.network == "UNet"
    assert pipeline.inference[0].batch == 2
    assert pipeline.preprocess[1].align == "first"


def test_python_that_medseg_does_not_need_is_left_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = changed("output_dir", "$__import__('os').system('touch ran')")
    config["handlers"] = [{"_target_": "CheckpointLoader", "load_path": "$open('ran', 'w')"}]
    assert load_pipeline(bundle(tmp_path, config)).inference[0].window == (32, 32, 32)
    assert not Path("ran").exists()


def test_a_bundle_may_be_written_in_yaml(tmp_path: Path) -> None:
    folder = bundle(tmp_path)
    pipeline = load_pipeline(folder)
    (folder / "configs/inference.json").rename(folder / "configs/inference.yaml")
    assert load_pipeline(folder) == pipeline


@pytest.mark.parametrize(
    ("way", "value"),
    [
        ("imports", ["$import os"]),
        ("imports", ["$from os import system"]),
        ("device", "$import os; os.system('touch ran')"),
        ("network_def::channels", "$__import__('os').system('touch ran')"),
        ("network_def::_target_", "os.system"),
        ("network_def::_target_", "subprocess.Popen"),
        ("network_def::_target_", "monai.bundle.run"),
        ("network_def::_target_", "$UNet"),
        ("preprocessing::transforms::2::_target_", "os.system"),
        ("preprocessing::transforms::2::_target_", "Lambdad"),
        ("preprocessing::transforms::2::axcodes", "$os.system('touch ran')"),
        ("preprocessing::transforms::6::_disabled_", "$__import__('os').system('touch ran')"),
        ("inferer::roi_size", "$[32] * 3"),
        ("inferer::_target_", "os.system"),
        ("postprocessing::transforms::2::_target_", "Lambdad"),
    ],
)
def test_what_monai_would_run_is_refused_with_its_place_and_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, value: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = bundle(tmp_path, changed(way, value))
    with pytest.raises(ModelError) as caught:
        load_pipeline(folder)
    assert caught.value.code == "E_UNSAFE"
    assert caught.value.path == str(folder / "configs/inference.json")
    place = way.removesuffix("::_target_")
    assert caught.value.message.startswith(place)
    assert not Path("ran").exists()


@pytest.mark.parametrize(
    ("way", "value", "said"),
    [
        ("spatial", "@spatial", "refers to itself"),
        ("network_def::spatial_dims", "@nowhere", "leads nowhere"),
        ("network_def::spatial_dims", "%other.json::dims", "macro"),
        ("network_def::out_channels", 5, "metadata"),
        ("preprocessing::transforms::3::mode", "bicubic", "mode"),
        ("preprocessing::transforms::2::wings", 2, "wings"),
        ("inferer::roi_size", [32, 32], "3 numbers"),
        ("inferer::padding_mode", "reflect", "padding_mode"),
        ("inferer", {"_target_": "SimpleInferer"}, "SlidingWindowInferer"),
        ("postprocessing::transforms::0", {"_target_": "Activationsd", "sigmoid": True}, "softmax"),
    ],
)
def test_what_medseg_does_not_do_is_refused_with_its_place(
    tmp_path: Path, way: str, value: Any, said: str
) -> None:
    with pytest.raises(ModelError, match=said) as caught:
        load_pipeline(bundle(tmp_path, changed(way, value)))
    assert caught.value.code == "E_FOREIGN_MODEL"


class Runs:
    """Makes a file where it is unpacked."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> object:
        return (os.system, (f"touch {self.path}",))


def test_weights_that_would_run_something_are_refused_and_run_nothing(tmp_path: Path) -> None:
    folder, mark = bundle(tmp_path), tmp_path / "ran"
    torch.save({**network().state_dict(), "more": Runs(mark)}, folder / "models/model.pt")
    with pytest.raises(ModelError, match="system") as caught:
        medseg.run(folder, input=scan(tmp_path / "in"), output=tmp_path / "out")
    assert caught.value.code == "E_UNSAFE"
    assert not mark.exists()
