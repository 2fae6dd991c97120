"""Other engines say what torch says; where they cannot, it is said, or torch is asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medseg.errors import ModelError
from medseg.image import Grid, Label, LabelMap, Labels, Volume
from medseg.inference import Slices, SlidingWindow, attempts, engines
from medseg.models import DynUNet
from medseg.models.weights import weights_bytes

TWO = Labels((Label("a", (1,)), Label("b", (2,))))
ENGINES = [
    name
    for name, packages in engines.PACKAGES.items()
    if all(engines.find_spec(package) for package in packages)
]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "cache"))
    engines.ready.cache_clear()
    attempts._VERDICTS.clear()
    return tmp_path / "cache"


def scan(*shape: int) -> Volume:
    data = np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32)
    return Volume(data, Grid(np.eye(4), shape))  # type: ignore[arg-type]


def step(tmp_path: Path, dims: int = 3, **options: Any) -> Any:
    torch.manual_seed(0)
    network = DynUNet(spatial_dims=dims, widths=(4, 6, 8), norm="batch")  # type: ignore[arg-type]
    path = tmp_path / "w.safetensors"
    path.write_bytes(weights_bytes(network(1, TWO.channels).state_dict()))
    if dims == 2:
        return Slices(model=network, weights=path, window=(8, 12), batch=3, **options)
    return SlidingWindow(model=network, weights=path, window=(8, 12, 8), batch=2, **options)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("engine", ENGINES)
def test_every_engine_says_what_torch_says(tmp_path: Path, engine: str, dims: int) -> None:
    """Also of the last windows, which are fewer than a batch."""
    own = step(tmp_path, dims)
    other = replace(own, engine=engine)
    volume = scan(13, 12, 9)
    assert torch.allclose(other(volume, TWO).data, own(volume, TWO).data, atol=1e-5)
    mirrored = replace(other, mirror=(0,))(volume, TWO).data
    assert torch.allclose(mirrored, replace(own, mirror=(0,))(volume, TWO).data, atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_walks_that_take_turns_do_not_write_over_each_other(tmp_path: Path, engine: str) -> None:
    """Slices along three axes, each asked a little at a time."""
    own = step(tmp_path, 2, axes=(0, 1, 2))
    volume = scan(21, 19, 23)
    said = replace(own, engine=engine)(volume, TWO).data
    assert torch.allclose(said, own(volume, TWO).data, atol=1e-5)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_converted_network_is_kept_and_found_again(
    tmp_path: Path, own_cache: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, volume = step(tmp_path, engine=engine), scan(8, 12, 8)
    first = other(volume, TWO).data
    (kept,) = (own_cache / "engines").iterdir()
    assert (kept / "done").exists()
    engines.ready.cache_clear()
    monkeypatch.setattr(engines, "exported", lambda *_: pytest.fail("exported again"))
    assert torch.equal(other(volume, TWO).data, first)


@pytest.mark.parametrize("engine", ENGINES)
def test_other_weights_are_converted_anew(tmp_path: Path, engine: str, own_cache: Path) -> None:
    other, volume = step(tmp_path, engine=engine), scan(8, 12, 8)
    first = other(volume, TWO).data
    torch.manual_seed(1)
    state = other.model(1, TWO.channels).state_dict()
    other.weights.write_bytes(weights_bytes(state))
    assert not torch.allclose(other(volume, TWO).data, first)
    assert len(list((own_cache / "engines").iterdir())) == 2


@pytest.mark.parametrize("engine", ENGINES)
def test_where_nothing_can_be_kept_it_is_made_in_passing(
    tmp_path: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MEDSEG_CACHE", str(tmp_path / "file"))
    own, volume = step(tmp_path), scan(8, 12, 8)
    other = replace(own, engine=engine)
    assert torch.allclose(other(volume, TWO).data, own(volume, TWO).data, atol=1e-5)


@pytest.mark.skipif("openvino" not in ENGINES, reason="OpenVINO is not installed")
def test_openvino_tells_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own convert_model reports each conversion to its makers, unless somebody objected."""
    telemetry = pytest.importorskip("openvino_telemetry")
    called = []
    monkeypatch.setattr(telemetry.Telemetry, "__init__", lambda *_, **__: called.append(1))
    step(tmp_path, engine="openvino")(scan(8, 12, 8), TWO)
    assert not called


def test_an_engine_that_is_not_installed_is_told_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r'pip install "medseg\[openvino\]"'):
        step(tmp_path, engine="openvino")(scan(8, 12, 8), TWO)
    volume = scan(8, 12, 8)
    automatic = step(tmp_path, engine="auto")(volume, TWO).data
    assert torch.equal(automatic, step(tmp_path)(volume, TWO).data)


def test_a_network_that_an_engine_cannot_take_is_left_to_torch_if_that_may_choose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no such operation")

    monkeypatch.setattr(engines, "_openvino", fail)
    monkeypatch.setattr(engines, "find_spec", lambda _: True)
    volume = scan(8, 12, 8)
    with pytest.raises(ModelError, match="cannot take the network 'dynunet': no such operation"):
        step(tmp_path, engine="openvino")(volume, TWO)
    automatic = step(tmp_path, engine="auto")(volume, TWO).data
    assert torch.equal(automatic, step(tmp_path)(volume, TWO).data)


def test_the_best_engine_depends_on_the_device_and_on_what_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there = {"openvino", "onnxruntime", "onnxscript"}
    monkeypatch.setattr(engines, "find_spec", lambda package: package in there or None)
    assert engines.best_installed(torch.device("cuda")) == "torch"
    assert engines.best_installed(torch.device("cpu")) == "openvino"
    there.remove("openvino")
    assert engines.best_installed(torch.device("cpu")) == "onnxruntime"
    there.remove("onnxscript")
    assert engines.best_installed(torch.device("cpu")) == "torch"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"engine": "openvino", "device": "cuda"}, "works on the CPU"),
        ({"engine": "onnxruntime", "precision": "bfloat16"}, "computes in float32"),
    ],
)
def test_options_that_exclude_each_other_are_refused(
    tmp_path: Path, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        step(tmp_path, **options)


@pytest.mark.parametrize(("enough", "verdict"), [(0.0, "bfloat16"), (1.1, "float32")])
def test_the_first_study_decides_on_the_precision_and_says_so(
    tmp_path: Path, enough: float, verdict: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "ENOUGH", enough)
    own = step(tmp_path, precision="auto")
    volume = scan(13, 12, 9)
    grid = volume.grid.spaced((0.7, 0.7, 0.7))
    mask, (caution,) = own.decided_on(volume, TWO, grid)
    assert caution.code == "W_PRECISION"
    assert caution.message.endswith(f"{verdict} is taken")
    assert "Dice a " in caution.message
    settled = replace(own, precision=verdict)
    assert np.array_equal(mask.data, settled.decided_on(volume, TWO, grid)[0].data)
    again, cautions = own.decided_on(volume, TWO, grid)
    assert np.array_equal(again.data, mask.data)
    assert cautions == ()
    assert torch.equal(own(volume, TWO).data, settled(volume, TWO).data)


def test_two_masks_agree_as_well_as_their_worst_label() -> None:
    grid = Grid(np.eye(4), (4, 1, 1))

    def mask(*values: int) -> LabelMap:
        return LabelMap(np.array(values, np.uint8).reshape(4, 1, 1), grid, TWO)

    assert attempts.agreement(mask(1, 1, 0, 0), mask(1, 1, 0, 0)) == (1.0, "a 1.0000, b 1.0000")
    worst, told = attempts.agreement(mask(1, 1, 2, 0), mask(1, 1, 0, 2))
    assert (worst, told) == (0.0, "a 1.0000, b 0.0000")
