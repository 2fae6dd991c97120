"""U-Nets and UCTransNets of other projects: the same numbers from the same weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from itertools import pairwise
from math import isqrt
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from medseg.errors import ModelError
from medseg.models.importers import Imported, uctransnet, unet_milesial
from medseg.models.uctransnet import UCTransNet
from medseg.models.unet import UNet

State: TypeAlias = dict[str, Tensor]


def drawn(shapes: Mapping[str, tuple[int, ...]]) -> State:
    """Random weights; deviations above zero, counters as they are."""
    torch.manual_seed(0)
    state = {key: torch.randn(shape) * 0.3 for key, shape in shapes.items()}
    for key, tensor in state.items():
        if key.endswith("running_var"):
            state[key] = tensor.abs() + 0.5
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(7)
    return state


def normed(name: str, width: int) -> dict[str, tuple[int, ...]]:
    parts = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{part}": (width,) for part in parts} | {f"{name}.num_batches_tracked": ()}


def milesial(bilinear: bool, widths: tuple[int, ...] = (4, 6, 8)) -> State:
    shapes: dict[str, tuple[int, ...]] = {}

    def double(name: str, inputs: int, middle: int, outputs: int) -> None:
        for place, (a, b) in ((0, (inputs, middle)), (3, (middle, outputs))):
            shapes[f"{name}.double_conv.{place}.weight"] = (b, a, 3, 3)
            shapes.update(normed(f"{name}.double_conv.{place + 1}", b))

    double("inc", 2, widths[0], widths[0])
    for level, (a, b) in enumerate(pairwise(widths), start=1):
        double(f"down{level}.maxpool_conv.1", a, b, b)
    below = widths[-1]
    for step, skip in enumerate(widths[-2::-1], start=1):
        if bilinear:
            finer = widths[max(len(widths) - 2 - step, 0)]
            double(f"up{step}.conv", skip + below, skip, finer)
            below = finer
        else:
            shapes[f"up{step}.up.weight"] = (below, skip, 2, 2)
            shapes[f"up{step}.up.bias"] = (skip,)
            double(f"up{step}.conv", 2 * skip, skip, skip)
            below = skip
    return drawn(shapes | {"outc.conv.weight": (3, below, 1, 1), "outc.conv.bias": (3,)})


def batch_normed(state: State, name: str, features: Tensor) -> Tensor:
    mean, var, weight, bias = (
        state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return functional.batch_norm(features, mean, var, weight, bias)


def milesial_says(state: State, image: Tensor) -> Tensor:
    def double(name: str, features: Tensor) -> Tensor:
        for place in (0, 3):
            weight = state[f"{name}.double_conv.{place}.weight"]
            features = functional.conv2d(features, weight, padding=1)
            features = batch_normed(state, f"{name}.double_conv.{place + 1}", features).relu()
        return features

    levels = [double("inc", image)]
    for level in (1, 2):
        levels.append(double(f"down{level}.maxpool_conv.1", functional.max_pool2d(levels[-1], 2)))
    features = levels[2]
    for step in (1, 2):
        if "up1.up.weight" in state:
            weight, bias = state[f"up{step}.up.weight"], state[f"up{step}.up.bias"]
            raised = functional.conv_transpose2d(features, weight, bias, stride=2)
        else:
            raised = functional.interpolate(
                features, scale_factor=2, mode="bilinear", align_corners=True
            )
        features = double(f"up{step}.conv", torch.cat([levels[2 - step], raised], dim=1))
    return functional.conv2d(features, state["outc.conv.weight"], state["outc.conv.bias"])


def uctrans(heads: int = 3, layers: int = 2, base: int = 2, grid: int = 2) -> State:
    shapes: dict[str, tuple[int, ...]] = {}
    widths = [base, 2 * base, 4 * base, 8 * base]
    total = sum(widths)

    def convs(name: str, inputs: int, outputs: int, side: int = 3) -> None:
        shapes[f"{name}.conv.weight"] = (outputs, inputs, side, side)
        shapes[f"{name}.conv.bias"] = (outputs,)
        shapes.update(normed(f"{name}.norm", outputs))

    def affine(name: str, width: int) -> None:
        shapes.update({f"{name}.weight": (width,), f"{name}.bias": (width,)})

    def linear(name: str, inputs: int, outputs: int) -> None:
        shapes.update({f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)})

    convs("inc", 3, base)
    for level, (a, b) in enumerate(zip(widths, [*widths[1:], widths[-1]], strict=True), start=1):
        convs(f"down{level}.nConvs.0", a, b)
        convs(f"down{level}.nConvs.1", b, b)
    for scale, width in enumerate(widths, start=1):
        patch = 2 ** (5 - scale)
        shapes[f"mtc.embeddings_{scale}.position_embeddings"] = (1, grid**2, width)
        shapes[f"mtc.embeddings_{scale}.patch_embeddings.weight"] = (width, width, patch, patch)
        shapes[f"mtc.embeddings_{scale}.patch_embeddings.bias"] = (width,)
        affine(f"mtc.encoder.encoder_norm{scale}", width)
        convs(f"mtc.reconstruct_{scale}", width, width, 1)
        for layer in range(layers):
            name = f"mtc.encoder.layer.{layer}"
            affine(f"{name}.attn_norm{scale}", width)
            affine(f"{name}.ffn_norm{scale}", width)
            linear(f"{name}.ffn{scale}.fc1", width, 4 * width)
            linear(f"{name}.ffn{scale}.fc2", 4 * width, width)
            shapes[f"{name}.channel_attn.out{scale}.weight"] = (width, width)
            for head in range(heads):
                shapes[f"{name}.channel_attn.query{scale}.{head}.weight"] = (width, width)
        out = widths[max(scale - 2, 0)]
        linear(f"up{scale}.coatt.mlp_x.1", width, width)
        linear(f"up{scale}.coatt.mlp_g.1", width, width)
        convs(f"up{scale}.nConvs.0", 2 * width, out)
        convs(f"up{scale}.nConvs.1", out, out)
    for layer in range(layers):
        affine(f"mtc.encoder.layer.{layer}.attn_norm", total)
        for head in range(heads):
            for part in ("key", "value"):
                name = f"mtc.encoder.layer.{layer}.channel_attn.{part}.{head}.weight"
                shapes[name] = (total, total)
    return drawn(shapes | {"outc.weight": (1, base, 1, 1), "outc.bias": (1,)})


class Reference:
    """UCTransNet in functions, by the authors' names, for an image as large as its table."""

    def __init__(self, state: State) -> None:
        self.state = state

    def convs(self, name: str, features: Tensor) -> Tensor:
        weight, bias = self.state[f"{name}.conv.weight"], self.state[f"{name}.conv.bias"]
        features = functional.conv2d(features, weight, bias, padding=len(weight[0, 0]) // 2)
        return batch_normed(self.state, f"{name}.norm", features).relu()

    def affine(self, name: str, tokens: Tensor) -> Tensor:
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        return functional.layer_norm(tokens, weight.shape, weight, bias, 1e-6)

    def linear(self, name: str, tokens: Tensor) -> Tensor:
        return functional.linear(
            tokens, self.state[f"{name}.weight"], self.state.get(f"{name}.bias")
        )

    def attention(self, name: str, query: Tensor, total: Tensor, scale: int) -> Tensor:
        heads = []
        while f"{name}.key.{len(heads)}.weight" in self.state:
            head = len(heads)
            asked = self.linear(f"{name}.query{scale}.{head}", query)
            key, value = (self.linear(f"{name}.{part}.{head}", total) for part in ("key", "value"))
            scores = torch.einsum("bnc,bnk->bck", asked, key) / total.shape[2] ** 0.5
            mean = scores.mean((1, 2), keepdim=True)
            deviation = (scores.var((1, 2), correction=0, keepdim=True) + 1e-5).sqrt()
            weights = ((scores - mean) / deviation).softmax(dim=2)
            heads.append(torch.einsum("bck,bnk->bnc", weights, value))
        return self.linear(f"{name}.out{scale}", torch.stack(heads).mean(0))

    def layer(self, name: str, scales: list[Tensor]) -> list[Tensor]:
        total, out = self.affine(f"{name}.attn_norm", torch.cat(scales, dim=2)), []
        for scale, tokens in enumerate(scales, start=1):
            query = self.affine(f"{name}.attn_norm{scale}", tokens)
            summed = tokens + self.attention(f"{name}.channel_attn", query, total, scale)
            hidden = self.affine(f"{name}.ffn_norm{scale}", summed)
            hidden = functional.gelu(self.linear(f"{name}.ffn{scale}.fc1", hidden))
            out.append(summed + self.linear(f"{name}.ffn{scale}.fc2", hidden))
        return out

    def fused(self, skips: list[Tensor]) -> list[Tensor]:
        scales = []
        for scale, skip in enumerate(skips, start=1):
            name = f"mtc.embeddings_{scale}"
            weight = self.state[f"{name}.patch_embeddings.weight"]
            bias = self.state[f"{name}.patch_embeddings.bias"]
            tokens = functional.conv2d(skip, weight, bias, stride=weight.shape[2:])
            places = self.state[f"{name}.position_embeddings"]
            scales.append(tokens.flatten(2).transpose(1, 2) + places)
        layer = 0
        while f"mtc.encoder.layer.{layer}.attn_norm.weight" in self.state:
            scales = self.layer(f"mtc.encoder.layer.{layer}", scales)
            layer += 1
        out = []
        for scale, (tokens, skip) in enumerate(zip(scales, skips, strict=True), start=1):
            said = self.affine(f"mtc.encoder.encoder_norm{scale}", tokens)
            side = isqrt(said.shape[1])
            grid = said.transpose(1, 2).reshape(*said.shape[::2], side, side)
            wide = functional.interpolate(grid, skip.shape[2:])
            out.append(skip + self.convs(f"mtc.reconstruct_{scale}", wide))
        return out

    def logits(self, image: Tensor) -> Tensor:
        levels = [self.convs("inc", image)]
        for level in range(1, 5):
            features = functional.max_pool2d(levels[-1], 2)
            for place in (0, 1):
                features = self.convs(f"down{level}.nConvs.{place}", features)
            levels.append(features)
        features = levels.pop()
        for scale, skip in reversed(list(enumerate(self.fused(levels), start=1))):
            raised = features.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
            score = self.linear(f"up{scale}.coatt.mlp_x.1", skip.mean((2, 3)))
            score = (score + self.linear(f"up{scale}.coatt.mlp_g.1", raised.mean((2, 3)))) / 2
            gated = (skip * score.sigmoid()[:, :, None, None]).relu()
            features = torch.cat([gated, raised], dim=1)
            for place in (0, 1):
                features = self.convs(f"up{scale}.nConvs.{place}", features)
        return functional.conv2d(features, self.state["outc.weight"], self.state["outc.bias"])


def module_of(imported: Imported) -> torch.nn.Module:
    module = imported.network(imported.in_channels, imported.out_channels)
    module.load_state_dict(imported.state)
    return module.eval()


@pytest.mark.parametrize("bilinear", [False, True])
def test_a_unet_of_milesial_says_what_its_own_code_says(bilinear: bool) -> None:
    state = milesial(bilinear)
    imported, image = unet_milesial.read(state), torch.randn(2, 2, 12, 20)
    assert (imported.in_channels, imported.out_channels, imported.unused) == (2, 3, ())
    with torch.no_grad():
        wanted = milesial_says(state, image)
        assert torch.allclose(module_of(imported)(image), wanted, atol=1e-4, rtol=1e-4)


def test_a_uctransnet_says_what_its_own_code_says() -> None:
    state = uctrans()
    imported, image = uctransnet.read(state), torch.randn(2, 3, 32, 32)
    assert (imported.in_channels, imported.out_channels, imported.unused) == (3, 1, ())
    with torch.no_grad():
        wanted = Reference(state).logits(image)
        assert torch.allclose(module_of(imported)(image), wanted, atol=1e-4, rtol=1e-4)


def test_what_a_uctransnet_is_is_read_off_the_shapes() -> None:
    network = uctransnet.read(uctrans(heads=11, layers=3, base=2, grid=3)).network
    assert network == UCTransNet(
        spatial_dims=2,
        widths=(2, 4, 8, 16, 16),
        patch=(2, 2),
        image_size=(48, 48),
        attention_layers=3,
        attention_heads=11,
        norm="batch",
    )


def test_heads_are_joined_in_the_order_of_their_numbers() -> None:
    state = uctrans(heads=11, layers=1)
    name = "mtc.encoder.layer.0.channel_attn.key.{}.weight"
    for head in range(11):
        state[name.format(head)].fill_(head)
    shuffled = dict(reversed(state.items()))
    found = uctransnet.read(shuffled).state["fusion.layers.0.attention.key.weight"]
    assert found[:: len(found) // 11, 0].tolist() == list(range(11))


@pytest.mark.parametrize(
    ("read", "state"), [(unet_milesial.read, milesial(True)), (uctransnet.read, uctrans())]
)
def test_several_devices_and_strangers_are_no_hindrance(
    read: Callable[[State], Imported], state: State
) -> None:
    wide = {f"module.{key}": tensor for key, tensor in state.items()}
    imported = read({**wide, "module.stranger": torch.zeros(1), "up9.odd": torch.zeros(1)})
    assert imported.unused == ("up9.odd", "stranger")
    assert imported.state.keys() == read(state).state.keys()


def without(state: State, key: str) -> State:
    assert key in state
    return {name: tensor for name, tensor in state.items() if name != key}


MILESIAL, UCTRANS = milesial(False), uctrans()
ATTENTION = "mtc.encoder.layer.1.channel_attn"
PLACES = "mtc.embeddings_1.position_embeddings"
CHANGED: list[tuple[Any, State, str]] = [
    (unet_milesial, {}, "inc.double_conv.0.weight is missing"),
    (unet_milesial, {"inc.double_conv.0.weight": torch.zeros(3)}, "shape (3,); 4 or 5"),
    (
        unet_milesial,
        without(MILESIAL, "down1.maxpool_conv.1.double_conv.3.weight"),
        "down1.maxpool_conv.1.double_conv.3.weight is missing",
    ),
    (unet_milesial, without(MILESIAL, "up2.conv.double_conv.4.bias"), "ups.1.convs.1.norm.bias"),
    (
        unet_milesial,
        {**MILESIAL, "up1.up.weight": torch.zeros(8, 6, 3, 3)},
        "up1.up.weight has shape (8, 6, 3, 3) and (8, 6, 2, 2) is wanted",
    ),
    (unet_milesial, {**MILESIAL, "outc.conv.weight": torch.zeros(0, 4, 1, 1)}, "none empty"),
    (uctransnet, {}, "inc.conv.weight is missing"),
    (
        uctransnet,
        {**UCTRANS, f"{ATTENTION}.key.1.weight": torch.zeros(3, 30)},
        f"{ATTENTION}.key.1.weight has shape (3, 30) and (30, 30) is wanted",
    ),
    (
        uctransnet,
        without(UCTRANS, f"{ATTENTION}.query2.1.weight"),
        f"{ATTENTION}.query2.0.weight has shape (4, 4) and (6, 4) is wanted",
    ),
    (uctransnet, {**UCTRANS, PLACES: torch.zeros(1, 5, 2)}, "(1, N, C) is wanted, N a square"),
    (uctransnet, {**UCTRANS, PLACES: torch.zeros(1, 0, 2)}, "(1, N, C) is wanted, N a square"),
    (uctransnet, {**UCTRANS, PLACES: torch.zeros(1, 9, 2)}, "embeddings_2.position_embeddings"),
]


@pytest.mark.parametrize(("importer", "state", "told"), CHANGED)
def test_tensors_of_another_network_are_refused_by_name(
    importer: Any, state: State, told: str
) -> None:
    with pytest.raises(ModelError, match="E_CHECKPOINT") as error:
        importer.read(state)
    assert told in str(error.value)


def listed(real_data: Path, name: str) -> State:
    """Zeros in the shapes that a reference checkpoint has."""
    path = real_data.parent / "reference" / f"{name}_keys.json"
    if not path.is_file():
        pytest.skip(f"no list of keys: {path.name}")
    shapes = json.loads(path.read_text())
    plain = {k: v[0] if v and isinstance(v[0], list) else v for k, v in shapes.items()}
    plain = {k: v[0] if v == [[], "torch.int64"] else v for k, v in plain.items()}
    return {key: torch.zeros(shape, device="meta") for key, shape in plain.items()}


@pytest.mark.parametrize(
    ("name", "upsampling", "lowest"),
    [("transposed", "transposed", 1024), ("bilinear", "bilinear", 512)],
)
def test_every_key_of_a_unet_of_milesial_has_its_place(
    real_data: Path, name: str, upsampling: str, lowest: int
) -> None:
    state = listed(real_data, f"unet_milesial_{name}")
    imported = unet_milesial.read(state)
    assert isinstance(imported.network, UNet)
    assert imported.network.upsampling == upsampling
    assert imported.network.widths == (64, 128, 256, 512, lowest)
    assert (imported.unused, len(imported.state)) == ((), len(state))


def test_every_key_of_a_uctransnet_has_its_place(real_data: Path) -> None:
    state = listed(real_data, "uctransnet")
    imported = uctransnet.read(state)
    assert imported.network.parameters(3, 1) == 66_430_657
    assert imported.unused == ()
    sizes = [sum(t.numel() for t in one.values()) for one in (state, imported.state)]
    assert sizes[0] == sizes[1]
