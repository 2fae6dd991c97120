"""The contract of every network, in 2D and 3D, and of weights on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from models.teaching import normed_away, untaught
from support.networks import SMALL, there
from torch import nn

from medseg.errors import ModelError
from medseg.models import MODELS, DynUNet, Network
from medseg.models.device import autocast
from medseg.models.weights import load_weights, weights_bytes

Dims = Literal[2, 3]
SPACES = {2: (17, 22), 3: (9, 14, 11)}
CPU = torch.device("cpu")
EVERY = [(name, dims) for name, network in MODELS.items() if there(name) for dims in network.dims]


def built(name: str, dims: Dims, channels: int = 1) -> torch.nn.Module:
    torch.manual_seed(0)
    return MODELS[name](spatial_dims=dims, **SMALL[name])(channels, 3)


@pytest.mark.parametrize(("name", "dims"), EVERY)
@pytest.mark.parametrize("channels", [1, 4])
def test_any_size_goes_in_and_logits_of_that_size_come_out(
    name: str, dims: Dims, channels: int
) -> None:
    module = built(name, dims, channels).eval()
    image = torch.randn(2, channels, *SPACES[dims])
    with torch.no_grad():
        assert module(image).shape == (2, 3, *SPACES[dims])


@pytest.mark.parametrize(("name", "dims"), EVERY)
@pytest.mark.parametrize("side", [1, 2, 4])
def test_a_single_voxel_is_an_image_too(name: str, dims: Dims, side: int) -> None:
    """Also where the lowest level would be left with one voxel."""
    module, space = built(name, dims), (side,) * dims
    image = torch.randn(1, 1, *space)
    with torch.no_grad():
        said = module.eval()(image)
        assert said.shape == (1, 3, *space)
        assert said.isfinite().all()
        assert torch.equal(module(image), said)
        heads = module.train()(image)
    assert (heads if isinstance(heads, torch.Tensor) else heads[0].logits).shape == (1, 3, *space)


@pytest.mark.parametrize(("name", "dims"), EVERY)
def test_gradients_reach_every_parameter(name: str, dims: Dims) -> None:
    module = built(name, dims).train()
    logits = module(torch.randn(2, 1, *SPACES[dims]))
    heads = [logits] if isinstance(logits, torch.Tensor) else [head.logits for head in logits]
    assert heads[0].shape[2:] == SPACES[dims]
    sum(head.square().mean() for head in heads).backward()
    assert untaught(module) == []


@pytest.mark.parametrize(
    ("parts", "away"),
    [
        ({"conv": nn.Conv2d(1, 2, 3), "norm": nn.BatchNorm2d(2)}, True),
        ({"conv": nn.Conv2d(1, 2, 3), "drop": nn.Dropout(), "norm": nn.GroupNorm(1, 2)}, True),
        ({"conv": nn.Sequential(nn.Conv2d(1, 2, 3)), "norm": nn.BatchNorm2d(2)}, True),
        ({"conv": nn.Conv2d(1, 2, 3), "mix": nn.Conv2d(2, 2, 1), "n": nn.LayerNorm(2)}, True),
        ({"conv": nn.Conv2d(1, 2, 3), "mix": nn.Conv2d(2, 2, 3), "n": nn.LayerNorm(2)}, False),
        ({"conv": nn.Conv2d(1, 2, 3), "act": nn.ReLU(), "norm": nn.BatchNorm2d(2)}, False),
        ({"norm": nn.BatchNorm2d(1), "conv": nn.Conv2d(1, 2, 3)}, False),
    ],
)
def test_only_a_bias_before_a_normalisation_may_learn_nothing(
    parts: dict[str, nn.Module], away: bool
) -> None:
    module = nn.Sequential()
    for name, part in parts.items():
        module.add_module(name, part)
    [key] = [
        k for k, _ in module.named_parameters() if k.startswith("conv.") and k.endswith("bias")
    ]
    assert normed_away(module, key) is away
    # Nothing was taught yet.
    assert (key in untaught(module)) is not away


@pytest.mark.parametrize(("name", "dims"), EVERY)
def test_saved_weights_give_the_very_same_logits(name: str, dims: Dims, tmp_path: Path) -> None:
    module, path = built(name, dims).eval(), tmp_path / "w.safetensors"
    path.write_bytes(weights_bytes(module.state_dict()))
    torch.manual_seed(1)
    other = MODELS[name](spatial_dims=dims, **SMALL[name])(1, 3).eval()
    image = torch.randn(1, 1, *SPACES[dims])
    with torch.no_grad():
        assert not torch.equal(other(image), module(image))
        load_weights(other, path)
        assert torch.equal(other(image), module(image))


@pytest.mark.parametrize(("name", "dims"), EVERY)
def test_mixed_precision_stays_finite_to_the_last_gradient(name: str, dims: Dims) -> None:
    """As training and prediction have it: the loss itself is in full precision."""
    module, image = built(name, dims).train(), torch.randn(2, 1, *SPACES[dims])
    with autocast(CPU, "bfloat16"):
        said = module(image)
    heads = [said] if isinstance(said, torch.Tensor) else [head.logits for head in said]
    assert all(head.isfinite().all() for head in heads)
    sum(head.float().square().mean() for head in heads).backward()
    assert [k for k, p in module.named_parameters() if not p.grad.isfinite().all()] == []
    with torch.no_grad(), autocast(CPU, "bfloat16"):
        assert module.eval()(image[:1]).isfinite().all()


@pytest.mark.parametrize("name", MODELS)
def test_every_network_says_where_it_comes_from(name: str) -> None:
    network = MODELS[name]
    assert issubclass(network, Network)
    assert network.name == name
    assert network.paper
    assert network.good_for


@pytest.mark.parametrize(("name", "dims"), EVERY)
def test_an_exported_program_gives_the_very_same_logits(name: str, dims: Dims) -> None:
    module, image = built(name, dims).eval(), torch.randn(1, 1, *SPACES[dims])
    with torch.no_grad():
        program = torch.export.export(module, (image,))
        assert torch.allclose(program.module()(image), module(image), atol=1e-5)


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("dims", [2, 3])
def test_dynunet_is_monais_own(dims: Dims, norm: Any, residual: bool) -> None:
    """Same parameters, same numbers; MONAI registers its blocks twice."""
    from monai.networks.nets import DynUNet as Monai

    flat_kernel, flat_stride = (1, 3, 3)[:dims], (1, 2, 2)[:dims]
    mine = DynUNet(
        spatial_dims=dims,
        widths=(4, 6, 8),
        strides=(2, flat_stride),
        kernels=(3, flat_kernel, 3),
        norm=norm,
        residual=residual,
    )
    module = mine(1, 2).eval()
    theirs = Monai(
        dims,
        1,
        2,
        [3, flat_kernel, 3],
        [1, 2, flat_stride],
        [2, flat_stride],
        filters=[4, 6, 8],
        norm_name=("INSTANCE", {"affine": True}) if norm == "instance" else "BATCH",
        res_block=residual,
    ).eval()
    left = theirs.load_state_dict(module.state_dict(), strict=False)
    assert left.unexpected_keys == []
    assert all(key.startswith("skip_layers.") for key in left.missing_keys)
    once = {p.data_ptr(): p.numel() for p in theirs.parameters()}
    assert sum(p.numel() for p in module.parameters()) == sum(once.values())
    image = torch.randn(1, 1, *(8, 8, 12)[:dims])
    with torch.no_grad():
        assert torch.allclose(theirs(image), module(image), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"widths": (8, 16)}, "three levels"),
        ({"widths": (8, 16, 0)}, "at least 1"),
        ({"strides": (2,)}, "one entry between two levels: 4, not 1"),
        ({"kernels": (3, 3)}, "one entry a level: 5, not 2"),
        ({"strides": (2, 2, 2, (2, 2))}, "3 of them"),
        ({"dropout": 1.0}, "dropout"),
        ({"deep_supervision": 4}, "at most 3"),
    ],
)
def test_options_that_cannot_be_are_refused_with_a_sentence(
    options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        DynUNet(**options)


def test_coarse_logits_are_left_at_their_own_size() -> None:
    module = DynUNet(widths=(4, 6, 8, 8), deep_supervision=2)(1, 2).train()
    sizes = [tuple(head.logits.shape[2:]) for head in module(torch.randn(1, 1, 16, 16, 16))]
    assert sizes == [(16, 16, 16), (8, 8, 8), (4, 4, 4)]


def test_coarse_logits_end_where_the_image_does() -> None:
    """A side of 9 is padded to 16; of 8 coarse voxels 5 lie over the image, of 4 there are 3."""
    module = DynUNet(widths=(4, 6, 8, 8), deep_supervision=2)(1, 2).train()
    sizes = [tuple(head.logits.shape[2:]) for head in module(torch.randn(1, 1, 9, 16, 3))]
    assert sizes == [(9, 16, 3), (5, 8, 2), (3, 4, 1)]


def test_dropout_drops_while_training_and_only_then() -> None:
    torch.manual_seed(0)
    module = DynUNet(widths=(4, 6, 8), dropout=0.5)(1, 2)
    image = torch.randn(1, 1, 8, 8, 8)
    assert not torch.equal(module.train()(image), module(image))
    assert torch.equal(module.eval()(image), module(image))


def harmed(state: dict[str, torch.Tensor], how: str) -> dict[str, torch.Tensor]:
    first = next(iter(state))
    if how == "missing":
        return {key: value for key, value in state.items() if key != first}
    if how == "unknown":
        return {**state, "stranger": torch.zeros(1)}
    if how == "shape":
        return {**state, first: torch.zeros(2, 2)}
    return {**state, first: torch.full_like(state[first], torch.nan)}


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("missing", "1 of its tensors are missing"),
        ("unknown", "1 are unknown (stranger)"),
        ("shape", "has shape (2, 2) and the network wants"),
        ("nan", "not finite"),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_name(tmp_path: Path, how: str, told: str) -> None:
    module, path = built("dynunet", 3), tmp_path / "w.safetensors"
    path.write_bytes(weights_bytes(harmed(module.state_dict(), how)))
    with pytest.raises(ModelError, match="E_CHECKPOINT") as error:
        load_weights(module, path)
    assert told in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("harm", ["cut", "pickle", "gone"])
def test_a_file_that_is_no_safetensors_is_refused_and_never_unpickled(
    tmp_path: Path, harm: str
) -> None:
    module, path = built("dynunet", 3), tmp_path / "w.safetensors"
    if harm == "cut":
        path.write_bytes(weights_bytes(module.state_dict())[:-10])
    elif harm == "pickle":
        torch.save(module.state_dict(), path)
    with pytest.raises(ModelError, match="E_CHECKPOINT"):
        load_weights(module, path)
