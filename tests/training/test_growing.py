"""What growth costs, what it asks for, and what becomes of the learner."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from medseg.image import Label, Labels
from medseg.models.neat import NEAT
from medseg.training import Training
from medseg.training.growing import Grower
from medseg.training.growth import Grown, Growth, growth_csv
from medseg.training.learner import Learner
from medseg.training.objective import Objective
from medseg.training.weighing import cost

SEED = NEAT(spatial_dims=2, widths=(4, 6), strides=(2,), norm="batch")


def learner(**growth: Any) -> Learner:
    torch.manual_seed(0)
    recipe = Training(
        patch=(16, 16), max_epochs=9, batches=1, precision="float32", growth=Growth(**growth)
    )
    objective = Objective(Labels([Label("ball", (1,))]))
    return Learner(SEED(1, 2), objective, recipe, torch.device("cpu"))


def batch(number: int) -> tuple[torch.Tensor, torch.Tensor]:
    drawn = torch.Generator().manual_seed(number)
    images = torch.randn(2, 1, 16, 16, generator=drawn)
    return images, (images > 0.5).long()


def taught(found: Learner, steps: int = 3) -> Learner:
    for _ in range(steps):
        found.step(*batch(found.iteration), spent=0.2)
    return found


def grower(found: Learner, **more: Any) -> Grower:
    assert found.recipe.growth is not None
    return Grower(SEED, found.recipe.growth, (1, 2), batch, **more)


def test_the_cost_is_counted_without_computing() -> None:
    network = NEAT(spatial_dims=2, widths=(4, 6), strides=(2,))
    found = cost(network, (1, 2), (32, 32))
    fine = 9 * (1 * 4 + 4 * 4) + 9 * (8 * 4 + 4 * 4) + 4 * 2
    coarse = 9 * (4 * 6 + 6 * 6)
    # A transposed convolution multiplies each of its inputs with each number of its kernel.
    assert found.gmacs * 1e9 == 1024 * fine + 256 * (coarse + 6 * 4 * 4)
    assert found.parameters == network.parameters(1, 2)


def test_a_child_learns_on_and_its_parent_stays_to_the_last_bit() -> None:
    parent = taught(learner(plateau=None))
    before = str(parent.state())
    grows = grower(parent)
    child = grows.grown(grows.after(parent, {"ball": 0.5}, 0.2))
    assert child is not parent
    assert child.iteration == parent.iteration == 3
    assert grows.settled(child) is parent
    images, _ = batch(9)
    with torch.no_grad():
        for one, other in ((parent.module, child.module), (parent.average, child.average)):
            assert torch.allclose(one.eval()(images), other.eval()(images), atol=1e-5)
            one.train(), other.train()
    taught(child)
    assert str(parent.state()) == before
    assert grows.after(child, {"ball": 0.1}, 0.3) is parent
    assert grows.network is SEED


def test_a_child_takes_the_moments_of_its_parent_along() -> None:
    parent = taught(learner(plateau=None, operators=("deepen",)))
    grows = grower(parent)
    child = grows.grown(grows.after(parent, {"ball": 0.5}, 0.2))
    old, new = parent.state()["optimizer"]["state"], child.state()["optimizer"]["state"]
    assert len(new) == len(old)
    assert sum(float(one["exp_avg"].norm()) for one in new.values()) == pytest.approx(
        sum(float(one["exp_avg"].norm()) for one in old.values())
    )
    assert {float(one["step"]) for one in new.values()} == {3.0}


def test_the_rate_rises_anew_after_growth() -> None:
    parent = taught(learner(plateau=None, warm_up=3))
    full = parent.learning_rate
    grows = grower(parent)
    child = grows.grown(grows.after(parent, {"ball": 0.5}, 0.2))
    rates = []
    for _ in range(5):
        taught(child, 1)
        rates.append(child.learning_rate / full)
    assert rates == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])


def test_what_grew_is_taken_up_again_from_its_state() -> None:
    parent = taught(learner(plateau=None))
    heard: list[Grown] = []
    grows = grower(parent, watch=heard.append)
    child = grows.grown(grows.after(parent, {"ball": 0.5, "none": None}, 0.2))
    child = grows.after(taught(child, 5), {"ball": 0.7}, 0.3)
    assert [row.accepted for row in heard] == [True]
    again = grower(learner())
    taken = again.restore(grows.state(), learner())
    taken.restore(child.state())
    assert again.network.genotype_json() == grows.network.genotype_json()
    assert again.rows == grows.rows
    assert str(taken.state()) == str(child.state())
    assert again.state() == grows.state()


def test_the_history_of_growth_is_a_table() -> None:
    row = Grown(4, 40, "widen", "encoder.1", 0.5, 1000, 0.25, 0.5, 0.75, True)
    assert growth_csv([row]).decode() == (
        "epoch,iteration,operator,where,promise,parameters,gmacs,dice_before,dice_after,accepted\n"
        "4,40,widen,encoder.1,0.5,1000,0.25,0.5,0.75,True\n"
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"every": 0}, "^every is at least 1"),
        ({"operators": ()}, "^operators names"),
        ({"operators": ("level", "level")}, "^operators names"),
        ({"factor": 1.0}, "^factor is above 1"),
        ({"warm_up": -1}, "^warm_up is 0"),
        ({"until": 0.0}, "^until lies in"),
        ({"max_gmacs": 0.0}, "^max_gmacs is above 0"),
    ],
)
def test_growth_that_cannot_be_is_refused_with_a_sentence(
    options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        Growth(**options)
