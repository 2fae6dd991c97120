"""Networks on VGG and on dilated ResNets: geometry, heads, and torchvision's own numbers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from medseg.errors import ModelError
from medseg.models import MODELS
from medseg.models.encoders.resnet import ResNet
from medseg.models.encoders.vgg import VGG
from medseg.models.importers import torchvision
from medseg.models.nets.fcn import enlarged

State = dict[str, Tensor]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize(("stride", "last"), [(32, 32), (16, 16), (8, 8)])
def test_a_resnet_of_an_output_stride_coarsens_no_further(
    dims: int, stride: Any, last: int
) -> None:
    encoder = ResNet(dims, 1, 18, base=4, output_stride=stride)
    features = encoder(torch.randn(1, 1, *(64,) * dims))
    assert [64 // one.shape[2] for one in features] == [side for (side, *_) in encoder.strides]
    assert encoder.strides[-1] == (last,) * dims


def test_only_axes_that_would_have_been_coarsened_are_dilated_instead() -> None:
    """Thick slices: the last stages coarsen within them, so that is where the taps spread."""
    steps = ((1, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2), (1, 2, 2))
    encoder = ResNet(3, 1, 18, base=4, output_stride=8, stage_strides=steps)
    rates = [stage[-1].convs[-1].dilation for stage in encoder.stages]
    assert rates == [(1, 1, 1), (1, 1, 1), (1, 2, 2), (1, 4, 4)]
    assert encoder.strides[-1] == (4, 8, 8)


@pytest.mark.parametrize(
    ("stride", "grid", "rates"),
    [
        (16, (1, 2, 4), [2, 4, 8]),
        (8, (1, 2, 4), [4, 8, 16]),
        (32, (1, 2, 4), [1, 2, 4]),
        (16, (2, 1), [4, 2, 2]),
        # As torchvision has it: the first block is still dilated as the stage before.
        (16, (1, 1, 1), [1, 2, 2]),
        (8, (1, 1, 1), [2, 4, 4]),
    ],
)
def test_a_multi_grid_multiplies_the_rate_of_the_last_stage_itself(
    stride: Any, grid: tuple[int, ...], rates: list[int]
) -> None:
    encoder = ResNet(2, 1, 50, base=4, output_stride=stride, multi_grid=grid)
    last, before = encoder.stages[3], encoder.stages[2]
    assert [block.convs[1].conv.dilation for block in last] == [(rate, rate) for rate in rates]
    plain = ResNet(2, 1, 50, base=4, output_stride=stride).stages[2]
    assert [block.convs[1].conv.dilation for block in before] == [
        block.convs[1].conv.dilation for block in plain
    ]


def test_a_vggs_features_lie_behind_its_poolings() -> None:
    encoder = VGG(3, 1, base=2, strides=(2, (1, 2, 2), 2, 1, 1), pool_kernel=3)
    sizes = [tuple(one.shape[1:]) for one in encoder(torch.randn(1, 1, 16, 16, 8))]
    assert sizes == [(2, 8, 8, 4), (4, 8, 4, 2), (8, 4, 2, 1), (16, 4, 2, 1), (16, 4, 2, 1)]
    assert encoder.strides[-1] == (4, 8, 8)


@pytest.mark.parametrize("stride", [2, 8, 16])
def test_fixed_transposed_convolutions_interpolate_linearly(stride: int) -> None:
    """Inside the borders they are the resizing with half a voxel's offset."""
    scores = torch.randn(1, 3, 6, 5)
    raised = enlarged(scores, stride)
    assert raised.shape[2:] == (7 * stride, 6 * stride)
    half = stride // 2
    inner = raised[:, :, half : half + 6 * stride, half : half + 5 * stride]
    wanted = functional.interpolate(scores, scale_factor=stride, mode="bilinear")
    assert torch.allclose(
        inner[..., stride:-stride, stride:-stride],
        wanted[..., stride:-stride, stride:-stride],
        atol=1e-5,
    )


@pytest.mark.parametrize("stride", [32, 16, 8])
@pytest.mark.parametrize("space", [(1, 3), (33, 50)])
def test_the_authors_geometry_gives_logits_of_every_size(
    stride: int, space: tuple[int, int]
) -> None:
    network = MODELS["fcn"](spatial_dims=2, stride=stride, base=2, hidden_channels=4, faithful=True)
    module = network(1, 3).eval()
    with torch.no_grad():
        assert module(torch.randn(1, 1, *space)).shape == (1, 3, *space)


def test_the_authors_cuts_keep_a_voxel_where_it_is() -> None:
    """With a border of 100 and these offsets a bright voxel's score stays around it."""
    torch.manual_seed(0)
    network = MODELS["fcn"](
        spatial_dims=2, stride=8, base=1, hidden_channels=1, kernel=7, faithful=True, dropout=0
    )
    module = network(1, 1).eval()
    with torch.no_grad():
        for name, one in module.named_parameters():
            one.fill_(1e-2 if name.endswith("weight") else 0)
        image = torch.zeros(1, 1, 96, 96)
        image[..., 40, 56] = 1
        skips = module.skips[1].weight
        module.score.weight.zero_()
        module.skips[0].weight.zero_()
        skips.fill_(1)
        found = module(image)[0, 0]
    weights = found / found.sum()
    row = (weights.sum(1) * torch.arange(96)).sum()
    column = (weights.sum(0) * torch.arange(96)).sum()
    # Three poolings round within eight voxels.
    assert abs(row - 40) <= 8
    assert abs(column - 56) <= 8


@pytest.mark.parametrize(
    ("name", "options", "weights"),
    [
        ("fcn_resnet", {}, [1, 0.5]),
        ("deeplab_v3", {}, [1, 0.5]),
        ("pspnet", {}, [1, 0.4]),
        ("psanet", {"mask": 5}, [1, 0.4]),
        ("deeplab_v3plus", {"auxiliary": True}, [1, 0.4]),
        ("deeplab_v2", {"scales": (1.0, 0.75, 0.5)}, [1, 1, 1, 1]),
    ],
)
def test_heads_weigh_what_the_papers_say(
    name: str, options: dict[str, Any], weights: list[float]
) -> None:
    module = MODELS[name](spatial_dims=2, depth=18, base=4, **options)(1, 3).train()
    heads = module(torch.randn(2, 1, 20, 24))
    assert [head.weight for head in heads] == weights
    assert all(head.logits.shape == (2, 3, 20, 24) for head in heads)


def test_scales_are_fused_by_their_largest_logit() -> None:
    network = MODELS["deeplab_v2"](spatial_dims=2, depth=18, base=4, scales=(1.0, 0.5))
    fused, *each = network(1, 3).train()(torch.randn(2, 1, 16, 16))
    assert torch.equal(fused.logits, torch.stack([head.logits for head in each]).amax(0))


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("fcn", {"faithful": True}, "faithful is for 2D"),
        ("fcn", {"kernel": 4}, "kernel is odd"),
        ("fcn", {"strides": (2, 2)}, "strides wants 5 entries"),
        ("fcn", {"dropout": 1.0}, "dropout"),
        ("deeplab_v1", {"rate": (1, 2)}, "rates are a number above 0 or 3"),
        ("deeplab_v1", {"base": -1}, "base is at least 1"),
        ("deeplab_v2", {"scales": ()}, "scales is one or more"),
        ("deeplab_v2", {"dropout": -0.5}, "dropout"),
        ("deeplab_v2", {"hidden_channels": 0}, "hidden_channels"),
        ("deeplab_v3", {"rates": ()}, "rates wants at least one"),
        ("deeplab_v3", {"multi_grid": (0,)}, "multi_grid is one or more"),
        ("deeplab_v3", {"head_channels": 0}, "head_channels is at least 1"),
        ("deeplab_v3", {"dropout": 1.0}, "dropout"),
        ("deeplab_v3plus", {"low_channels": 0}, "low_channels is at least 1"),
        ("pspnet", {"bins": (0,)}, "bins are a number above 0"),
        ("psanet", {"mask": (3, 3)}, "mask is a number above 0 or 3"),
        ("psanet", {"shrink": 0}, "shrink is at least 1"),
        ("psanet", {"attention_channels": 0}, "attention_channels is at least 1"),
        ("gcn", {"kernel": 8}, "kernel is an odd number"),
        ("gcn", {"base": 0}, "base is at least 1"),
    ],
)
def test_options_that_cannot_be_are_refused_with_a_sentence(
    name: str, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        MODELS[name](**options)


def test_rates_follow_the_output_stride_unless_given() -> None:
    network = MODELS["deeplab_v3"]
    assert network(spatial_dims=2).pyramid == (12, 24, 36)
    assert network(spatial_dims=2, output_stride=16).pyramid == (6, 12, 18)
    assert network(spatial_dims=3).pyramid == (2, 4, 6)
    assert network(spatial_dims=3, rates=(1, (1, 2, 2))).pyramid == (1, (1, 2, 2))


def drawn(head: str, base: int = 2, labels: int = 3) -> State:
    """Random weights of a small ``resnet50`` of torchvision, by its names."""
    shapes: dict[str, tuple[int, ...]] = {}

    def normed(name: str, width: int) -> None:
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.{part}"] = (width,)
        shapes[f"{name}.num_batches_tracked"] = ()

    def convolved(conv: str, norm: str, inputs: int, outputs: int, side: int) -> None:
        shapes[f"{conv}.weight"] = (outputs, inputs, side, side)
        normed(norm, outputs)

    convolved("backbone.conv1", "backbone.bn1", 3, base, 7)
    inputs = base
    for layer, count in enumerate((3, 4, 6, 3), start=1):
        width = base * 2 ** (layer - 1)
        for block in range(count):
            name = f"backbone.layer{layer}.{block}"
            convolved(f"{name}.conv1", f"{name}.bn1", inputs, width, 1)
            convolved(f"{name}.conv2", f"{name}.bn2", width, width, 3)
            convolved(f"{name}.conv3", f"{name}.bn3", width, 4 * width, 1)
            if block == 0:
                convolved(f"{name}.downsample.0", f"{name}.downsample.1", inputs, 4 * width, 1)
            inputs = 4 * width
    if head == "fcn":
        convolved("classifier.0", "classifier.1", inputs, inputs // 4, 3)
        middle = inputs // 4
    else:
        middle = 5
        for place, side in enumerate((1, 3, 3, 3)):
            name = f"classifier.0.convs.{place}"
            convolved(f"{name}.0", f"{name}.1", inputs, middle, side)
        convolved("classifier.0.convs.4.1", "classifier.0.convs.4.2", inputs, middle, 1)
        convolved("classifier.0.project.0", "classifier.0.project.1", 5 * middle, middle, 1)
        convolved("classifier.1", "classifier.2", middle, middle, 3)
    for name, width, before in (("", middle, 0), ("aux_", inputs // 8, inputs // 2)):
        if before:
            convolved(f"{name}classifier.0", f"{name}classifier.1", before, width, 3)
        shapes[f"{name}classifier.4.weight"] = (labels, width, 1, 1)
        shapes[f"{name}classifier.4.bias"] = (labels,)
    torch.manual_seed(0)
    state = {key: torch.randn(shape) * 0.4 for key, shape in shapes.items()}
    for key, tensor in state.items():
        if key.endswith("running_var"):
            state[key] = tensor.abs() + 0.5
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(3)
    return state


class Reference:
    """torchvision's networks in functions, by their names."""

    def __init__(self, state: State) -> None:
        self.state = state

    def convolved(self, conv: str, norm: str, image: Tensor, stride: int = 1, rate: int = 1) -> Any:
        weight = self.state[f"{conv}.weight"]
        padding = weight.shape[2] // 2 * rate
        image = functional.conv2d(image, weight, None, stride, padding, rate)
        parts = ("running_mean", "running_var", "weight", "bias")
        return functional.batch_norm(image, *(self.state[f"{norm}.{part}"] for part in parts))

    def features(self, image: Tensor) -> Tensor:
        image = self.convolved("backbone.conv1", "backbone.bn1", image, 2).relu()
        image = functional.max_pool2d(image, 3, 2, 1)
        for layer, count in enumerate((3, 4, 6, 3), start=1):
            for block in range(count):
                name, first = f"backbone.layer{layer}.{block}", block == 0
                stride = 2 if layer == 2 and first else 1
                rate = {3: 1 if first else 2, 4: 2 if first else 4}.get(layer, 1)
                inner = self.convolved(f"{name}.conv1", f"{name}.bn1", image).relu()
                inner = self.convolved(f"{name}.conv2", f"{name}.bn2", inner, stride, rate).relu()
                inner = self.convolved(f"{name}.conv3", f"{name}.bn3", inner)
                if first:
                    names = f"{name}.downsample.0", f"{name}.downsample.1"
                    image = self.convolved(*names, image, stride)
                image = (inner + image).relu()
        return image

    def logits(self, image: Tensor) -> Tensor:
        features = self.features(image)
        if "classifier.0.project.0.weight" in self.state:
            said = []
            for place, rate in enumerate((1, 12, 24, 36)):
                name = f"classifier.0.convs.{place}"
                said.append(self.convolved(f"{name}.0", f"{name}.1", features, 1, rate).relu())
            mean = features.mean((2, 3), keepdim=True)
            names = "classifier.0.convs.4.1", "classifier.0.convs.4.2"
            said.append(self.convolved(*names, mean).relu().expand_as(said[0]))
            names = "classifier.0.project.0", "classifier.0.project.1"
            features = self.convolved(*names, torch.cat(said, 1)).relu()
            features = self.convolved("classifier.1", "classifier.2", features).relu()
        else:
            features = self.convolved("classifier.0", "classifier.1", features).relu()
        weight, bias = self.state["classifier.4.weight"], self.state["classifier.4.bias"]
        coarse = functional.conv2d(features, weight, bias)
        return functional.interpolate(coarse, image.shape[2:], mode="bilinear")


@pytest.mark.parametrize("head", ["fcn", "deeplab"])
def test_a_checkpoint_of_torchvision_says_what_its_own_code_says(head: str) -> None:
    state = drawn(head)
    imported, image = torchvision.read(state), torch.randn(2, 3, 64, 96)
    assert (imported.in_channels, imported.out_channels, imported.unused) == (3, 3, ())
    assert len(imported.state) == len(state)
    module = imported.network(3, 3).eval()
    module.load_state_dict(imported.state)
    with torch.no_grad():
        wanted = Reference(state).logits(image)
        assert torch.allclose(module(image), wanted, rtol=1e-4, atol=1e-4 * wanted.abs().max())


@pytest.mark.parametrize(
    ("key", "shape", "told"),
    [
        ("backbone.conv1.weight", None, "backbone.conv1.weight is missing"),
        ("backbone.layer2.1.conv2.weight", (3, 3, 3, 3), "backbone.layer2.1.conv2.weight"),
        ("classifier.4.weight", None, "classifier.4.weight is missing"),
        ("backbone.layer3.9.conv1.weight", (1, 1, 1, 1), "7 blocks"),
    ],
)
def test_tensors_of_another_network_are_refused_by_name(
    key: str, shape: tuple[int, ...] | None, told: str
) -> None:
    state = drawn("deeplab")
    if shape is None:
        del state[key]
    else:
        state[key] = torch.zeros(shape)
    with pytest.raises(ModelError, match="E_CHECKPOINT") as error:
        torchvision.read(state)
    assert told in str(error.value)


def test_strangers_are_named_and_no_hindrance() -> None:
    imported = torchvision.read({**drawn("fcn"), "module.stranger": torch.zeros(1)})
    assert imported.unused == ("stranger",)


@pytest.mark.parametrize(
    ("name", "parameters"), [("fcn", 35_322_218 - 16 * 770), ("deeplabv3", 42_004_074 - 16 * 514)]
)
def test_every_key_of_torchvisions_lists_has_its_place(
    real_data: Path, name: str, parameters: int
) -> None:
    path = real_data.parent / "reference" / f"torchvision_{name}_resnet50_keys.json"
    if not path.is_file():
        pytest.skip(f"no list of keys: {path.name}")
    shapes = json.loads(path.read_text())
    state = {key: torch.zeros(shape, device="meta") for key, shape in shapes.items()}
    imported = torchvision.read(state)
    assert imported.unused == ()
    assert len(imported.state) == len(state)
    # The published network has 21 labels, this list 5.
    assert imported.network.parameters(3, 5) == parameters
