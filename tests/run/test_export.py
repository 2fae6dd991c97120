"""Exported networks say what torch says, and bundles give MONAI the masks that medseg gives."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from scipy.ndimage import gaussian_filter
from support.networks import SMALL

import medseg
from medseg.cli import main
from medseg.errors import MedsegError, ModelError
from medseg.inference import exporting
from medseg.models import MODELS
from medseg.models.weights import weights_bytes

KINDS = [
    pytest.param(kind, marks=pytest.mark.slow if kind == "openvino" else ())
    for kind in exporting.PACKAGES
    if not exporting.missing(kind)
]
TEXT = """name: small
labels: {{a: 1, b: 2}}
preprocess:
  - orientation: {{axcodes: RAS}}
{more}
  - normalize_intensity
inference:
  - {step}:
      model: {model}
      weights: w.safetensors
      window: {window}
{after}
"""


def pipeline(place: Path, name: str, dims: int, **said: Any) -> Path:
    torch.manual_seed(0)
    model = MODELS[name](spatial_dims=dims, **SMALL[name])
    module = model(1, 3)
    for layer in module.modules():
        if isinstance(layer, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
            layer.running_mean.normal_(std=0.2)
            layer.running_var.uniform_(0.5, 1.5)
    (place / "w.safetensors").write_bytes(weights_bytes(module.state_dict()))
    options = {
        "step": "slices" if dims == 2 else "sliding_window",
        "model": json.dumps({"name": name, "spatial_dims": dims, **SMALL[name]}),
        "window": [16, 24, 16][:dims],
        "more": "",
        "after": "",
        **said,
    }
    path = place / "small.yaml"
    path.write_text(TEXT.format(**options))
    return path


def opened(kind: Any, file: Path, image: torch.Tensor) -> torch.Tensor:
    """What a file says, asked through the program's own interface."""
    if kind == "pt2":
        return torch.export.load(file).module()(image)
    if kind == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        (name,) = (one.name for one in session.get_inputs())
        return torch.from_numpy(session.run(None, {name: image.numpy()})[0])
    import openvino

    compiled = openvino.Core().compile_model(file, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return torch.from_numpy(next(iter(compiled([image.numpy()]).values())))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(
    "name",
    [
        "unet",
        pytest.param("uctransnet", marks=pytest.mark.slow),
        pytest.param("deeplab_v3plus", marks=pytest.mark.slow),
    ],
)
def test_an_exported_network_says_what_torch_says(
    tmp_path: Path, name: str, dims: int, kind: Any
) -> None:
    path = pipeline(tmp_path, name, dims)
    summary = medseg.export(path, tmp_path / "out", kind)
    said = json.loads((tmp_path / "out/medseg.json").read_text())
    (network,) = said["networks"]
    module = MODELS[name](spatial_dims=dims, **SMALL[name])(1, 3)
    from medseg.models.weights import load_weights

    load_weights(module, tmp_path / "w.safetensors")
    image = torch.randn(network["input"])
    with torch.no_grad():
        own = module.eval()(image)
    assert list(own.shape) == network["output"]
    other = opened(kind, tmp_path / "out" / network["file"], image)
    assert torch.allclose(own, other, atol=1e-4)
    assert summary.largest_difference <= 1e-4


def test_beside_a_network_stands_what_goes_before_and_after(tmp_path: Path) -> None:
    path = pipeline(tmp_path, "unet", 3, after="postprocess: [keep_largest]")
    result = CliRunner().invoke(main, ["export", str(path), str(tmp_path / "o"), "--to", "pt2"])
    assert result.exit_code == 0, result.output
    said = json.loads((tmp_path / "o/medseg.json").read_text())
    assert said["labels"] == {"a": [1], "b": [2]}
    assert said["preprocess"][0] == {"orientation": {"axcodes": "RAS"}}
    assert said["preprocess"][1]["normalize_intensity"]["nonzero"] is False
    assert said["postprocess"] == [
        {"keep_largest": {"labels": None, "connectivity": 26, "count": 1}}
    ]
    step = said["inference"][0]["sliding_window"]
    assert (step["window"], step["overlap"], step["blending"]) == ([16, 24, 16], 0.5, "gaussian")
    assert str(tmp_path) not in json.dumps(said)


def test_several_networks_are_several_files(tmp_path: Path) -> None:
    path = pipeline(tmp_path, "unet", 3)
    text = path.read_text()
    step = text[text.index("  - sliding_window") :]
    path.write_text(text.rstrip() + "\n" + step)
    summary = medseg.export(path, tmp_path / "o", "pt2")
    assert [file.name for file in summary.files] == [
        *("network_0.pt2", "network_1.pt2"),
        "medseg.json",
    ]


def test_what_asks_no_network_cannot_be_exported(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    path.write_text("name: none\nlabels: {a: 1}\ninference:\n  - threshold: {minimum: 5}\n")
    with pytest.raises(ModelError, match="networks alone"):
        medseg.export(path, tmp_path / "o", "pt2")


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ({"after": "postprocess:\n  - remove_small: {min_ml: 1}"}, "remove_small"),
        ({"more": "  - transpose"}, "transpose"),
        ({"window": "[16, 24, 16]\n      mirror: [0]"}, "mirror"),
    ],
)
def test_what_monai_has_no_word_for_is_refused_by_name(
    tmp_path: Path, said: dict[str, Any], word: str
) -> None:
    path = pipeline(tmp_path, "unet", 3, **said)
    with pytest.raises(MedsegError, match=word):
        medseg.export(path, tmp_path / "o", "monai_bundle")
    assert not (tmp_path / "o").exists()


def scans(place: Path) -> None:
    place.mkdir()
    random = np.random.default_rng(1)
    for number, affine in enumerate((np.diag([-1, 1, 2, 1]), np.diag([1.5, -1, 1, 1]))):
        image = gaussian_filter(random.normal(size=(15, 20, 13 + number)), 2) * 100
        nibabel.save(
            nibabel.Nifti1Image(image.astype(np.float32), affine), place / f"s{number}.nii.gz"
        )


@pytest.mark.slow
@pytest.mark.skipif(not (find_spec("ignite") and find_spec("fire")), reason="needs ignite and fire")
@pytest.mark.parametrize("after", ["", "postprocess: [keep_largest]"])
def test_monai_gives_our_bundle_the_masks_that_medseg_gives(tmp_path: Path, after: str) -> None:
    more = "  - clip: {minimum: -9}\n  - spacing: {pixdim: [1, 1, 1.5], align: first}"
    path = pipeline(tmp_path, "unet", 3, more=more, after=after, window="[32, 32, 32]")
    bundle, masks = tmp_path / "bundle", tmp_path / "own/masks"
    medseg.export(path, bundle, "monai_bundle")
    scans(bundle / "images")
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", "run"]
    files = ["--config_file", "configs/inference.json", "--meta_file", "configs/metadata.json"]
    subprocess.run([*command, *files], cwd=bundle, check=True, capture_output=True)
    assert not medseg.run(path, input=bundle / "images", output=tmp_path / "own").failures
    for number in range(2):
        theirs = np.asarray(nibabel.load(bundle / f"masks/s{number}.nii.gz").dataobj)
        ours = np.asarray(nibabel.load(masks / f"s{number}.nii.gz").dataobj)
        assert len(np.unique(ours)) > 1
        assert (theirs.squeeze() == ours).all()
