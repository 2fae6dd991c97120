"""The loss: against MONAI's, and what it must not look at."""

from __future__ import annotations

import pytest
import torch
from monai.losses import DiceLoss
from torch.nn.functional import cross_entropy

from medseg.image import Label, Labels
from medseg.models.heads import DetailHead, Head, PointHead, halving
from medseg.training.objective import Objective, details, edges

TWO = Labels((Label("a", (3,)), Label("b", (7,))))
IGNORING = Labels(TWO.entries, ignore=9)
REGIONS = Labels((Label("whole", (1, 2)), Label("part", (2,))))


def case(values: tuple[int, ...], channels: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    logits = torch.randn(2, channels, 6, 5, 4, requires_grad=True)
    picks = torch.randint(0, len(values), (2, 1, 6, 5, 4))
    return logits, torch.tensor(values)[picks]


def test_labels_are_those_of_monai_and_torch() -> None:
    logits, target = case((0, 3, 7), 3)
    classes = torch.zeros_like(target)
    classes[target == 3], classes[target == 7] = 1, 2
    dice = DiceLoss(
        include_background=False, to_onehot_y=True, softmax=True, batch=True, smooth_nr=1e-5,
        smooth_dr=1e-5,
    )(logits, classes)  # fmt: skip
    entropy = cross_entropy(logits, classes[:, 0])
    assert Objective(TWO)(logits, target).item() == pytest.approx((dice + entropy).item(), abs=1e-5)
    weighted = Objective(TWO, dice_weight=2.0, cross_entropy_weight=0.5)(logits, target).item()
    assert weighted == pytest.approx((2 * dice + 0.5 * entropy).item(), abs=1e-5)


def test_regions_are_those_of_monai() -> None:
    logits, target = case((0, 1, 2), 2)
    wanted = torch.cat([target > 0, target == 2], 1).float()
    dice = DiceLoss(sigmoid=True, batch=True, smooth_nr=1e-5, smooth_dr=1e-5)(logits, wanted)
    entropy = torch.nn.BCEWithLogitsLoss()(logits, wanted)
    mine = Objective(REGIONS)(logits, target).item()
    assert mine == pytest.approx((dice + entropy).item(), abs=1e-5)


def test_ignored_voxels_have_no_say_and_no_gradient() -> None:
    logits, target = case((0, 3, 7, 9), 3)
    loss = Objective(IGNORING)(logits, target)
    loss.backward()
    ignored = (target == 9).expand_as(logits)
    assert logits.grad is not None
    assert logits.grad[ignored].abs().max() == 0
    assert logits.grad[~ignored].abs().min() > 0
    other = logits.detach().clone()
    other[ignored] += 100
    assert Objective(IGNORING)(other, target) == loss


def test_a_label_that_is_not_shown_has_no_dice() -> None:
    logits, target = case((0, 3), 3)
    only = Objective(TWO, cross_entropy_weight=0.0)(logits, target).item()
    classes = (target == 3).long()
    both = DiceLoss(
        include_background=False, to_onehot_y=True, softmax=True, batch=True, smooth_nr=1e-5,
        smooth_dr=1e-5, reduction="none",
    )(logits, classes)  # fmt: skip
    assert only == pytest.approx(both.flatten()[0].item(), abs=1e-5)


def test_nothing_but_background_is_finite_and_teaches_entropy_alone() -> None:
    logits, target = case((0,), 3)
    loss = Objective(TWO)(logits, target)
    loss.backward()
    assert loss.isfinite()
    assert loss.item() == pytest.approx(
        1 + cross_entropy(logits, torch.zeros(2, 6, 5, 4).long()).item(), abs=1e-4
    )


def test_a_perfect_answer_costs_nothing() -> None:
    _, target = case((0, 3, 7), 3)
    logits = torch.full((2, 3, 6, 5, 4), -30.0)
    for channel, value in enumerate((0, 3, 7)):
        logits[:, channel][target[:, 0] == value] = 30
    assert Objective(TWO)(logits, target).item() == pytest.approx(0, abs=1e-4)


def test_heads_count_by_their_weights_and_coarse_ones_meet_the_target_at_their_size() -> None:
    logits, target = case((0, 3, 7), 3)
    coarse = torch.randn(2, 3, 3, 5, 2)
    small = target[:, :, 1::2, :, 1::2]
    objective = Objective(TWO)
    wanted = (objective(logits, target) + 0.5 * objective(coarse, small)) / 1.5
    found = objective(halving([logits, coarse]), target).item()
    assert found == pytest.approx(wanted.item(), abs=1e-5)


@pytest.mark.parametrize("dims", [2, 3])
def test_points_at_the_middles_of_voxels_are_those_voxels(dims: int) -> None:
    logits, target = case((0, 3, 7), 3)
    if dims == 2:
        logits, target = logits[..., 0], target[..., 0]
    space = logits.shape[2:]
    middles = [(torch.arange(side) + 0.5) / side * 2 - 1 for side in space]
    points = torch.stack(torch.meshgrid(*middles, indexing="ij"), -1).flip(-1).reshape(1, -1, dims)
    objective = Objective(TWO)
    head = PointHead(logits.flatten(2), points.expand(2, -1, -1), 0.5)
    both = objective([Head(logits), head], target).item()
    assert both == pytest.approx(1.5 * objective(logits, target).item(), abs=1e-5)


def test_edges_are_where_a_neighbour_differs() -> None:
    values = torch.zeros(1, 1, 7, 6, dtype=torch.long)
    values[..., 2:5, 2:4] = 5
    wanted = torch.zeros(7, 6, dtype=torch.bool)
    wanted[1:6, 1:5] = True
    wanted[3, 2:4] = True
    for x in range(7):
        for y in range(6):
            near = values[0, 0, max(x - 1, 0) : x + 2, max(y - 1, 0) : y + 2]
            wanted[x, y] = bool((near != values[0, 0, x, y]).any())
    assert torch.equal(edges(values)[0, 0], wanted)


@pytest.mark.parametrize("space", [(13, 10), (9, 6, 11)])
def test_details_are_what_the_authors_fuse_of_three_strides(space: tuple[int, ...]) -> None:
    """Edges at strides of 1, 2 and 4, by nearest neighbour, times 0.6, 0.3 and 0.1, above 0.1."""
    torch.manual_seed(0)
    coarse = torch.randint(0, 3, (2, 1, *(-(-side // 6) for side in space)))
    values = coarse
    for axis, side in enumerate(space, start=2):
        values = values.repeat_interleave(6, axis).narrow(axis, 0, side)
    fused = torch.zeros(values.shape)
    for stride, share in ((1, 0.6), (2, 0.3), (4, 0.1)):
        seen = edges(values)
        for axis, side in enumerate(space, start=2):
            places = torch.arange(0, side, stride)
            seen = seen.index_select(axis, places).repeat_interleave(stride, axis)
            seen = seen.narrow(axis, 0, side)
        fused += share * seen
    wanted = fused > 0.1
    assert torch.equal(details(values), wanted)
    assert wanted.any()
    assert not wanted.all()
    assert not torch.equal(wanted, edges(values))


@pytest.mark.parametrize("space", [(12, 9), (8, 9, 7)])
def test_no_detail_is_learnt_where_a_neighbour_is_not_known(space: tuple[int, ...]) -> None:
    """The end of what is known is no edge of a label."""
    target = torch.zeros(1, 1, *space, dtype=torch.long)
    target[:, :, 5:] = 9
    target[:, :, 0] = 3
    details_of = torch.zeros(1, 1, *space, requires_grad=True)
    rest = torch.zeros(1, 3, *space)
    Objective(IGNORING)([Head(rest), DetailHead(details_of)], target).backward()
    assert details_of.grad is not None
    rows = details_of.grad.sum(tuple(range(3, details_of.ndim))).flatten()
    # Edges are wanted in the first two rows; the fifth has a neighbour that is not known.
    assert (rows[:2] < 0).all()
    assert (rows[2:4] > 0).all()
    assert not rows[4:].any()


def test_details_are_learnt_from_edges_and_not_where_nothing_is_known() -> None:
    _, target = case((0, 3, 7), 3)
    logits = torch.zeros(2, 3, 6, 5, 4)
    right = torch.where(details(target), 30.0, -30.0)
    objective = Objective(TWO)
    alone = objective(logits, target).item()
    assert objective([Head(logits), DetailHead(right)], target).item() == pytest.approx(alone)
    wrong = objective([Head(logits), DetailHead(-right)], target).item()
    assert wrong > alone + 20
    nothing = torch.full_like(target, 9)
    assert Objective(IGNORING)([Head(logits), DetailHead(-right)], nothing).isfinite()


def test_a_label_that_weighs_nothing_is_not_learnt() -> None:
    logits, target = case((0, 3, 7), 3)
    target[target == 3] = 7
    target[0, 0, 0, 0, 0] = 3
    without = Objective(TWO, label_weights={"a": 0.0}, cross_entropy_weight=0.0)
    only_b = without(logits, target).item()
    target[0, 0, 0, 0, 0] = 0
    assert only_b == pytest.approx(without(logits, target).item(), abs=1e-6)
    more = Objective(TWO, label_weights={"b": 3.0}, dice_weight=0.0)
    plain = Objective(TWO, dice_weight=0.0)
    target[:] = 7
    assert more(logits, target).item() == pytest.approx(3 * plain(logits, target).item(), rel=1e-5)
