"""The loss: against MONAI's, and what it must not look at."""

from __future__ import annotations

import pytest
import torch
from monai.losses import DiceLoss
from torch.nn.functional import cross_entropy

from medseg.image import Label, Labels
from medseg.training.objective import Objective

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


def test_coarse_logits_weigh_half_and_meet_the_target_at_their_size() -> None:
    logits, target = case((0, 3, 7), 3)
    coarse = torch.randn(2, 3, 3, 5, 2)
    small = target[:, :, 1::2, :, 1::2]
    objective = Objective(TWO)
    wanted = (objective(logits, target) + 0.5 * objective(coarse, small)) / 1.5
    assert objective([logits, coarse], target).item() == pytest.approx(wanted.item(), abs=1e-5)
