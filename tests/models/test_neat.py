"""A network that grows: its function kept, its gradients right, its genotype whole."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from medseg.models.growth import Move, Operator
from medseg.models.modules.gradmax import Directions, gradmax, promise
from medseg.models.modules.morphisms import Morph
from medseg.models.modules.surgery import Space, Surgery, Takes
from medseg.models.neat import NEAT

Dims = Literal[2, 3]
SPACES = {2: (17, 22), 3: (9, 14, 11)}
OPERATORS: tuple[Operator, ...] = ("widen", "features", "deepen", "level", "kernel")
NORMS = ("instance", "batch")


def seed(dims: Dims, norm: Any = "instance", **more: Any) -> NEAT:
    flat = (2, 1, 2)[-dims:] if dims == 3 else 2
    return NEAT(spatial_dims=dims, widths=(4, 6, 5), strides=(flat, 2), norm=norm, **more)


def lived(options: NEAT, channels: int = 2, labels: int = 3) -> nn.Module:
    """A network whose normalisations and statistics are not at their beginning."""
    torch.manual_seed(0)
    module = options(channels, labels)
    with torch.no_grad():
        for key, tensor in module.state_dict().items():
            if "norm" in key and tensor.is_floating_point():
                tensor.copy_(0.5 + torch.rand_like(tensor))
    return module


def child_of(
    options: NEAT, module: nn.Module, move: Move, directions: Directions | None = None
) -> tuple[nn.Module, Morph]:
    morph = options.morph(module, move, 3, directions)
    child = move.network(2, 3)
    child.load_state_dict(morph.weights(module.state_dict()))
    return child, morph


def loss_of(module: nn.Module, image: Tensor) -> Tensor:
    logits = module(image)
    wanted = torch.sin(torch.arange(logits.numel(), dtype=logits.dtype).reshape(logits.shape))
    return (logits - wanted).square().mean()


def image_for(dims: Dims) -> Tensor:
    return torch.randn(2, 2, *SPACES[dims], generator=torch.Generator().manual_seed(1))


def agree(one: nn.Module, other: nn.Module, image: Tensor) -> None:
    with torch.no_grad():
        for training in (False, True):
            a, b = one.train(training)(image), other.train(training)(image)
            assert torch.allclose(a, b, atol=1e-5), float((a - b).abs().max())


def grown_by(options: NEAT, operator: Operator, dims: Dims) -> tuple[Move, ...]:
    return options.moves(operator, (64,) * dims, 1.5)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("operator", OPERATORS)
def test_every_move_keeps_the_function(operator: Operator, dims: Dims, norm: str) -> None:
    """In evaluation and in training, on a form that has been through every move before."""
    options = seed(dims, norm, encoder_blocks=(1, 0, 1), decoder_blocks=(0, 1), added=1)
    module, image = lived(options), image_for(dims)
    moves = grown_by(options, operator, dims)
    assert moves
    for move in moves:
        child, _ = child_of(options, module, move)
        agree(module, child, image)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("dims", [2, 3])
def test_moves_follow_on_each_other_and_every_number_grows(dims: Dims, norm: str) -> None:
    options = seed(dims, norm)
    module, image = lived(options), image_for(dims)
    first, sizes = module, [options.parameters(2, 3)]
    for turn in range(2):
        for operator in OPERATORS:
            moves = grown_by(options, operator, dims)
            move = moves[(7 * turn + 3) % len(moves)]
            module, _ = child_of(options, module, move)
            options = move.network
            sizes.append(options.parameters(2, 3))
    assert sizes == sorted(set(sizes))
    agree(first, module, image)


def new_places(morph: Morph, module: nn.Module, child: nn.Module) -> dict[str, Tensor]:
    """Where each parameter of the child is new: no moment of the old gets there."""
    kept = morph.moments({key: torch.ones_like(p) for key, p in module.named_parameters()}, 1)
    return {key: kept.get(key, torch.zeros_like(p)) == 0 for key, p in child.named_parameters()}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("operator", OPERATORS)
def test_gradients_reach_what_is_new_within_two_steps(operator: Operator, dims: Dims) -> None:
    options = seed(dims, "batch", added=1)
    module, image = lived(options), image_for(dims)
    for move in grown_by(options, operator, dims):
        child, morph = child_of(options, module, move)
        optimiser = torch.optim.Adam(child.train().parameters(), lr=1e-2)
        loss_of(child, image).backward()
        optimiser.step()
        optimiser.zero_grad()
        loss_of(child, image).backward()
        grads = {key: p.grad for key, p in child.named_parameters()}
        for key, new in new_places(morph, module, child).items():
            assert grads[key] is not None
            assert not new.any() or grads[key][new].ne(0).float().mean() > 0.9, (move.where, key)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("operator", OPERATORS)
def test_moments_become_those_the_larger_network_would_have_had(
    operator: Operator, norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The law of the optimiser's state: mapped gradients are the gradients of the mapped."""
    monkeypatch.setattr("medseg.models.nets.neat_growth.NOISE", 0.0)
    options = seed(2, norm, encoder_blocks=(1, 0, 0), added=1)
    module, image = lived(options).double(), image_for(2).double()
    loss_of(module.train(), image).backward()
    old = {key: p.grad for key, p in module.named_parameters()}
    for move in grown_by(options, operator, 2):
        morph = options.morph(module, move, 3)
        child = move.network(2, 3).double()
        child.load_state_dict(morph.weights(module.state_dict()))
        loss_of(child.train(), image).backward()
        mapped, squares = morph.moments(old, 1), morph.moments(old_squares(old), 2)
        for key, new in new_places(morph, module, child).items():
            if key in mapped:
                assert not mapped[key][new].any()
                grad = child.get_parameter(key).grad
                assert torch.allclose(grad[~new], mapped[key][~new], rtol=1e-4, atol=1e-12)
                assert torch.allclose(squares[key][~new], grad[~new] ** 2, rtol=1e-3, atol=1e-20)


def old_squares(grads: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: grad**2 for key, grad in grads.items()}


@given(
    count=st.integers(1, 9),
    noise=st.sampled_from([0.0, 0.01, 1.0]),
    start=st.integers(0, 100),
    groups=st.sampled_from([(3, 2), (5, 0)]),
)
@settings(max_examples=25, deadline=None)
def test_copies_of_channels_keep_what_a_pair_of_convolutions_does(
    count: int, noise: float, start: int, groups: tuple[int, int]
) -> None:
    """Any number of copies, any noise, also where others are joined before and after."""
    torch.manual_seed(start)
    before, behind = groups
    first, second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(before + 4 + behind, 3, 3, padding=1)
    state = {f"a.{k}": t for k, t in first.state_dict().items()}
    state |= {f"b.{k}": t for k, t in second.state_dict().items()}
    surgery = Surgery(state, start)
    surgery.widen(Space(("a",), takes=(Takes("b", before),)), count, noise)
    grown = surgery.morph().weights(state)
    image, others = torch.randn(1, 2, 7, 6), torch.randn(1, before + behind, 7, 6)

    def said(state: Any) -> Tensor:
        inner = torch.conv2d(image, state["a.weight"], state["a.bias"], padding=1).relu()
        joined = torch.cat([others[:, :before], inner, others[:, before:]], 1)
        return torch.conv2d(joined, state["b.weight"], state["b.bias"], padding=1)

    assert grown["a.weight"].shape[0] == 4 + count
    assert torch.allclose(said(state), said(grown), atol=1e-5)
    if noise:
        copies = grown["b.weight"][:, before : before + 4 + count].flatten(2).transpose(0, 1)
        assert len(torch.unique(copies.flatten(1), dim=0)) == 4 + count


def test_an_average_and_its_network_get_the_same_noise_and_the_same_new_channels() -> None:
    options = seed(2)
    module = lived(options)
    average = {key: tensor * 0.5 for key, tensor in module.state_dict().items()}
    for operator in OPERATORS:
        morph = options.morph(module, grown_by(options, operator, 2)[0], 3)
        one, other = morph.weights(module.state_dict()), morph.weights(average)
        both = morph.weights({key: 2 * t for key, t in average.items()})
        assert all(torch.equal(one[key], both[key]) for key in one)
        assert {key: t.shape for key, t in one.items()} == {k: t.shape for k, t in other.items()}


def test_the_same_seed_makes_the_same_child_and_another_another() -> None:
    options = seed(3)
    module = lived(options)
    for operator in ("widen", "features", "deepen", "level"):
        move = grown_by(options, operator, 3)[0]
        one, same, other = (
            options.morph(module, move, number).weights(module.state_dict()) for number in (1, 1, 2)
        )
        assert all(torch.equal(one[key], same[key]) for key in one)
        assert not all(torch.equal(one[key], other[key]) for key in one)


def gradmax_of(module: nn.Module, move: Move, image: Tensor) -> Directions:
    assert move.pair is not None
    losses = [lambda: loss_of(module, image), lambda: loss_of(module, image.flip(0))]
    return gradmax(module, {move.pair: move.count}, losses)[move.pair]


@pytest.mark.parametrize("dims", [2, 3])
def test_gradmax_is_the_gradient_of_a_third_convolution_beside_the_pair(dims: Dims) -> None:
    """Against autograd through that convolution itself, with a stride in the first."""
    torch.manual_seed(0)
    convs = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
    pair = nn.Sequential(convs(2, 4, 3, stride=2, padding=1), convs(4, 3, 3, padding=1))
    image = torch.randn(2, 2, *(12, 8, 10)[:dims])
    found = gradmax(pair, {("0", "1"): 3}, [lambda: pair(image).square().sum()])["0", "1"]
    third = convs(2, 3, 7, stride=2, padding=3, bias=False)
    nn.init.zeros_(third.weight)
    (pair(image) + third(image)).square().sum().backward()
    # A channel of those weights is the composed kernel; the gradient along it is its value.
    for n, value in enumerate(found.values):
        composed = torch.zeros_like(third.weight)
        for place in torch.cartesian_prod(*[torch.arange(3)] * dims):
            window = tuple(slice(2 * int(p), 2 * int(p) + 3) for p in place)
            outer = found.outgoing[(slice(None), n, *place)]
            composed[(slice(None), slice(None), *window)] += torch.einsum(
                "o,i...->oi...", outer, found.incoming[n]
            )
        assert float((composed * third.weight.grad).sum()) == pytest.approx(float(value), rel=1e-3)


def test_gradmax_channels_have_more_gradient_than_drawn_ones() -> None:
    options, image = seed(2, "batch"), image_for(2)
    module = lived(options).train()
    for move in grown_by(options, "features", 2):
        directions = gradmax_of(lived(options).train(), move, image)
        child, _ = child_of(options, module, move, directions)
        agree(module, child, image)
        found, drawn = silent_gradient(child, move, image), []
        for number in range(5):
            torch.manual_seed(number)
            other = child_of(options, module, move, at_random(directions))[0]
            drawn.append(silent_gradient(other, move, image))
        assert found > 2 * max(drawn)


def at_random(directions: Directions) -> Directions:
    """Unit vectors of the same shapes that know nothing of the loss."""
    incoming = torch.randn_like(directions.incoming)
    outgoing = torch.randn_like(directions.outgoing)
    lengths = incoming.flatten(1).norm(dim=1)
    incoming /= lengths.reshape(-1, *(1,) * (incoming.ndim - 1))
    return Directions(incoming, outgoing / outgoing[:, 0].norm(), directions.values)


def silent_gradient(child: nn.Module, move: Move, image: Tensor) -> float:
    """Of the scales that keep the new channels silent."""
    child.zero_grad()
    loss_of(child.train(), image).backward()
    scale = child.get_parameter(f"{move.where}.first.norm.weight")
    assert scale.grad is not None
    return float(scale.grad[-move.count :].norm())


def test_gradmax_promises_are_singular_values() -> None:
    torch.manual_seed(0)
    pair = nn.Sequential(nn.Conv2d(2, 4, 1), nn.Conv2d(4, 3, 1))
    image = torch.randn(2, 2, 6, 6)
    found = gradmax(pair, {("0", "1"): 9}, [lambda: pair(image).square().sum()])["0", "1"]
    out = pair(image).detach()
    matrix = torch.einsum("bixy,boxy->io", image, 2 * out)
    assert torch.allclose(found.values, torch.linalg.svdvals(matrix), rtol=1e-4)
    assert promise(found) == pytest.approx(float(matrix.square().sum()), rel=1e-4)


@pytest.mark.parametrize("dims", [2, 3])
def test_a_grown_network_is_rebuilt_from_its_genotype(dims: Dims) -> None:
    options = seed(dims)
    for operator in OPERATORS:
        for move in grown_by(options, operator, dims):
            again = NEAT.from_json(move.network.genotype_json())
            assert again.explicit() == move.network.explicit()
            assert again.genotype_json() == move.network.genotype_json()
            assert again(2, 3).state_dict().keys() == move.network(2, 3).state_dict().keys()
        options = move.network


@pytest.mark.parametrize("text", ["[]", "{", '{"widths": [4]}', '{"depth": 3}'])
def test_a_genotype_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        NEAT.from_json(text)


def test_a_level_more_changes_nothing_at_any_size() -> None:
    """Levels pad for themselves: an odd side below does not shift what is above."""
    options = seed(2)
    module = lived(options).eval()
    (move,) = grown_by(options, "level", 2)
    child, _ = child_of(options, module, move)
    child.eval()
    with torch.no_grad():
        for side in range(1, 20):
            image = torch.randn(1, 2, side, 2 * side + 1)
            assert torch.allclose(module(image), child(image), atol=1e-5)


@pytest.mark.parametrize(
    ("patch", "spacing", "strides", "kernels"),
    [
        ((64, 64), (1, 1), ((2, 2),) * 3, ((3, 3),) * 4),
        # A long, coarse axis waits until the others are as coarse.
        ((64, 64, 16), (1, 1, 4), ((2, 2, 1), (2, 2, 1), (2, 2, 2)), "1 1 3 3"),
        ((64, 64, 64), (1, 1, 1), ((2, 2, 2),) * 3, "3 3 3 3"),
        # What is short is left alone.
        ((64, 6), (1, 1), ((2, 1), (2, 1), (2, 1)), ((3, 3),) * 4),
        ((16, 16), (1, 1), ((2, 2), (2, 2)), ((3, 3),) * 3),
        ((11, 6), (1, 1), ((1, 1),), ((3, 3),) * 2),
    ],
)
def test_the_seed_is_sized_by_the_patch_and_its_spacing(
    patch: Any, spacing: Any, strides: Any, kernels: Any
) -> None:
    sized = NEAT(spatial_dims=len(patch)).sized(patch, spacing)
    if isinstance(kernels, str):
        kernels = tuple((3, 3, int(last)) for last in kernels.split())
    assert sized.strides == strides
    assert sized.kernels == kernels
    assert sized.widths == (8, 16, 32, 64)[: len(kernels)]
    sized(1, 2)


def test_what_is_written_out_is_not_sized_again() -> None:
    options = seed(2)
    assert options.sized((64, 64), (1, 1)) is options


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"widths": (8,)}, "^widths needs two"),
        ({"strides": (2,)}, "^strides has 3"),
        ({"strides": (2, 2, (2, 2))}, "^strides are numbers"),
        ({"kernels": (3, 3, 3, 4)}, "^kernels are odd"),
        ({"decoder_widths": (8, 8)}, "^decoder_widths has 3"),
        ({"encoder_blocks": (0, 0, 0, -1)}, "^encoder_blocks has 4"),
        ({"decoder_blocks": (1,)}, "^decoder_blocks has 3"),
        ({"added": 3}, "^added counts levels, at most 2"),
    ],
)
def test_options_that_cannot_be_are_refused_with_a_sentence(
    options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        NEAT(**options)
