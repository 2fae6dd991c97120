"""One learner: optimizers, the share of the budget, averages, and programs made of networks."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from medseg.image import Label, Labels
from medseg.models.dynunet import DynUNet
from medseg.training import Training
from medseg.training.learner import Learner
from medseg.training.objective import Objective
from medseg.training.team import ALONE, Team

ONE = Labels((Label("ball", (1,)),))


def learner(module: nn.Module | None = None, **more: Any) -> Learner:
    torch.manual_seed(0)
    said: dict[str, Any] = {"patch": (8, 8), "max_epochs": 9, "precision": "float32"}
    recipe = Training(**said | more)
    module = module or nn.Conv2d(1, 2, 3, padding=1)
    return Learner(module, Objective(ONE), recipe, torch.device("cpu"))


def batch(number: int, dims: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    drawn = torch.Generator().manual_seed(number)
    images = torch.randn(2, 1, *(8,) * dims, generator=drawn)
    return images, (images > 0).long()


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_both_optimizers_learn(optimizer: str) -> None:
    one = learner(optimizer=optimizer, learning_rate=1e-2, momentum=0.9)
    losses = [float(one.step(*batch(number), spent=0.5)) for number in range(40)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_sgd_steps_as_nesterov_says() -> None:
    one = learner(optimizer="sgd", learning_rate=0.1, momentum=0.5, weight_decay=0.0, warm_up=0.0)
    weight = one.module.bias
    before, speed = weight.detach().clone(), torch.zeros(2)
    for number in range(3):
        loss = one.loss(*batch(number), module=one.module)
        (slope,) = torch.autograd.grad(loss, [weight])
        speed = 0.5 * speed + slope
        before = before - 0.1 * (slope + 0.5 * speed)
        one.step(*batch(number), spent=0.0)
        assert torch.allclose(weight, before, atol=1e-6)


@pytest.mark.parametrize("schedule", ["cosine", "poly"])
def test_the_rate_is_a_function_of_the_share_of_the_budget_alone(schedule: str) -> None:
    one = learner(schedule=schedule, warm_up=0.1)
    rates = []
    for spent in (0.0, 0.05, 0.1, 0.5, 0.9, 1.0):
        one.step(*batch(0), spent=spent)
        rates.append(one.learning_rate)
    assert rates[0] < rates[1] < rates[2]
    assert rates[2] > rates[3] > rates[4] > rates[5] == 0
    other = learner(schedule=schedule, warm_up=0.1)
    other.step(*batch(0), spent=0.5)
    assert other.learning_rate == rates[3]


def test_gradients_are_clipped_to_their_norm() -> None:
    one = learner(optimizer="sgd", momentum=0.0, learning_rate=1.0, gradient_clip=1e-3,
                  weight_decay=0.0, warm_up=0.0)  # fmt: skip
    before = [p.detach().clone() for p in one.module.parameters()]
    one.step(*batch(0), spent=0.0)
    moved = [p.detach() - old for p, old in zip(one.module.parameters(), before, strict=True)]
    assert float(torch.cat([m.flatten() for m in moved]).norm()) == pytest.approx(1e-3, rel=1e-3)


def test_momentum_is_part_of_what_is_kept() -> None:
    one = learner(optimizer="sgd", learning_rate=0.1)
    for number in range(3):
        one.step(*batch(number), spent=0.1)
    other = learner(optimizer="sgd", learning_rate=0.1)
    # As through a file: nothing is shared.
    other.restore(deepcopy(one.state()))
    one.step(*batch(9), spent=0.2)
    other.step(*batch(9), spent=0.2)
    assert torch.equal(one.module.weight, other.module.weight)


def test_chance_within_a_network_differs_between_the_processes_of_a_team() -> None:
    """Alone, it is what it always was."""
    one, seeds = learner(seed=5), []
    for team in (ALONE, Team(0, 2), Team(1, 2)):
        # What is shared is set up already; here no process has to be met.
        one.team, one.iteration = team, 3
        one.step(*batch(0), spent=0.5)
        seeds.append(torch.initial_seed())
    assert seeds[0] == int(np.random.SeedSequence([5, 3]).generate_state(1)[0])
    assert seeds[2] not in seeds[:2]


def test_running_values_are_averaged_as_the_weights_are() -> None:
    norm = nn.BatchNorm2d(2)
    one = learner(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), norm), ema=0.9)
    assert isinstance(one.average, nn.Sequential)
    mean, weight = torch.zeros(2), one.module[0].weight.detach().clone()
    for number in range(12):
        one.step(*batch(number), spent=0.3)
        decay = min(0.9, one.iteration / (one.iteration + 9))
        mean = decay * mean + (1 - decay) * norm.running_mean
        weight = decay * weight + (1 - decay) * one.module[0].weight.detach()
    assert torch.allclose(one.average[0].weight, weight, atol=1e-6)
    assert torch.allclose(one.average[1].running_mean, mean, atol=1e-6)
    assert not torch.allclose(one.average[1].running_mean, norm.running_mean, atol=1e-4)
    assert one.average[1].num_batches_tracked.item() == 12


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, as it is imported
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_compiled_network_learns_what_it_would_have_learnt(precision: str, dims: int) -> None:
    network = DynUNet(
        spatial_dims=2 if dims == 2 else 3, widths=(4, 6, 8), norm="batch", deep_supervision=1
    )
    more = {"precision": precision, "patch": (8,) * dims}
    plain = learner(network(1, 2), **more)
    compiled = learner(network(1, 2), compile=True, **more)
    compiled.module.load_state_dict(plain.module.state_dict())
    for number in range(3):
        one = float(plain.step(*batch(number, dims), 0.1))
        other = float(compiled.step(*batch(number, dims), 0.1))
        assert other == pytest.approx(one, rel=1e-3 if precision == "float32" else 5e-2)
    assert compiled.state()["module"].keys() == plain.state()["module"].keys()
