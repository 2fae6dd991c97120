"""Batches: the same by number, fair to cases, centred on labels as often as asked."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from medseg.image import Grid, Label, LabelMap, Labels, Volume
from medseg.training import AUGMENTATION, Training
from medseg.training.sampling import Case, Sampler
from medseg.training.spatial import RandAffine, RandElastic, RandFlip

LABELS = Labels((Label("a", (1,)), Label("b", (5,))))


def case(name: str, shape: tuple[int, int, int] = (14, 12, 10), at: int | None = 3) -> Case:
    """An image that says where each voxel is, and two labelled voxels."""
    index = np.arange(np.prod(shape), dtype=np.float32).reshape(1, *shape)
    target = np.zeros(shape, np.uint8)
    if at is not None:
        target[at, at, at], target[-1, -1, -1] = 1, 5
    grid = Grid(np.eye(4), shape)
    return Case(name, Volume(index, grid), LabelMap(target, grid, LABELS))


def recipe(**options: object) -> Training:
    return Training(**{"patch": (6, 6, 6), "batch": 4, "max_epochs": 1, **options})  # type: ignore[arg-type]


def test_a_batch_depends_on_the_seed_and_its_number_alone() -> None:
    cases = [case(str(number)) for number in range(5)]
    noisy = recipe(augmentation=(RandFlip(), RandAffine(prob=1.0)))
    first, again = Sampler(cases, noisy), Sampler(cases, noisy)
    again.batch(3)
    for number in (0, 7, 7, 2):
        for mine, theirs in zip(first.batch(number), again.batch(number), strict=True):
            assert torch.equal(mine, theirs)
    assert not torch.equal(first.batch(0)[0], first.batch(1)[0])
    other = Sampler(cases, recipe(augmentation=noisy.augmentation, seed=1))
    assert not torch.equal(first.batch(0)[0], other.batch(0)[0])


def test_every_case_comes_once_before_any_comes_again() -> None:
    cases = [case(str(number)) for number in range(6)]
    sampler = Sampler(cases, recipe())
    for turn in range(3):
        names = [sampler._case(turn * 6 + place).name for place in range(6)]
        assert Counter(names) == Counter(str(number) for number in range(6))


@pytest.mark.parametrize(("share", "least"), [(1.0, 4), (0.5, 2), (0.0, 0)])
def test_the_share_of_patches_asked_for_holds_a_label(share: float, least: int) -> None:
    sampler = Sampler([case("a")], recipe(foreground=share, patch=(3, 3, 3)))
    for number in range(12):
        _, targets = sampler.batch(number)
        assert int((targets.flatten(1) > 0).any(1).sum()) >= least


def test_each_label_is_chosen_as_often() -> None:
    sampler = Sampler([case("a")], recipe(foreground=1.0, patch=(3, 3, 3)))
    seen = torch.cat([sampler.batch(number)[1].flatten(1).amax(1) for number in range(60)])
    assert 0.35 < (seen == 5).float().mean() < 0.65


def test_patches_of_larger_volumes_hold_their_voxels_and_no_padding() -> None:
    sampler = Sampler([case("a")], recipe(foreground=0.7))
    for number in range(10):
        images, _ = sampler.batch(number)
        steps = images.diff(dim=-1)
        assert torch.equal(steps, torch.ones_like(steps))


def test_a_smaller_volume_lies_in_the_middle_of_zeros() -> None:
    images, targets = Sampler([case("a", (3, 6, 9), 2)], recipe(foreground=1.0)).batch(0)
    assert images.shape == targets.shape == (4, 1, 6, 6, 6)
    assert images[:, :, [0, 4, 5]].abs().max() == 0
    assert torch.equal(images[:, :, 1:4].diff(dim=-1), torch.ones(4, 1, 3, 6, 5))


MOVES = (
    RandElastic(prob=0.7, control_voxels=8, magnitude_voxels=(1.0, 2.0)),
    RandAffine(prob=0.7, rotate_degrees=20, scale_range=(0.8, 1.0), translate_voxels=2),
    RandFlip(),
    RandElastic(prob=0.7, control_voxels=8, magnitude_voxels=(1.0, 2.0)),
)


def full(*shape: int) -> Case:
    """An image of noise, a channel of ones beside it, and a label everywhere; known in the middle.

    So every forced patch lies in the middle.
    """
    noise = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    grid = Grid(np.eye(4), (shape[0], shape[1], shape[2]))
    image = Volume(np.stack([noise, np.ones_like(noise)]), grid)
    target = LabelMap(np.ones(shape, np.uint8), grid, LABELS)
    return Case("full", image, target, {1: np.asarray(shape)[None] // 2})


@pytest.mark.parametrize(("patch", "axes"), [((12, 16, 10), ()), ((12, 16), (0, 1, 2))])
def test_what_is_turned_and_bent_is_read_from_the_volume_beyond_the_patch(
    patch: tuple[int, ...], axes: tuple[int, ...]
) -> None:
    asked = recipe(patch=patch, foreground=1.0, augmentation=MOVES)
    sampler = Sampler([full(50, 50, 50)], asked, axes)
    for number in range(10):
        images, targets = sampler.batch(number)
        assert images.shape == (4, 2, *patch)
        assert torch.allclose(images[:, 1], torch.ones(()), atol=1e-4)
        assert (targets == 1).all()
        halves = [Sampler([full(50, 50, 50)], asked, axes, share=(n, 2)) for n in range(2)]
        for rank, half in enumerate(halves):
            mine = images[(rank + number) % 2 :: 2]
            assert torch.allclose(half.batch(number)[0], mine, atol=1e-3)


def changed_alone(sampler: Sampler, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of which nothing is read but the patches."""
    bare = replace(sampler, recipe=replace(sampler.recipe, augmentation=()))
    chance = np.random.default_rng([sampler.recipe.seed, number])
    chances = [pick.chance for pick in sampler._picks(number, chance, None)]
    found = bare.batch(number)
    for one in sampler.recipe.augmentation:
        found = one.on_batch(*found, chances)
    return found


def test_what_lies_beyond_a_patch_changes_nothing_where_it_is_not_read() -> None:
    sampler = Sampler([full(50, 50, 50)], recipe(patch=(16, 20, 18), augmentation=MOVES))
    shares = []
    for number in range(10):
        images, alone = sampler.batch(number)[0], changed_alone(sampler, number)[0]
        same = alone[:, 1] > 0.9999
        shares.append(float(same.float().mean()))
        assert torch.allclose(images[:, 0][same], alone[:, 0][same], atol=2e-3)
    assert 0.5 < np.mean(shares) < 0.99


@pytest.mark.parametrize("shape", [(12, 16, 10), (9, 12, 10)])
def test_a_volume_without_more_than_the_patch_is_changed_as_the_patch_alone(
    shape: tuple[int, int, int],
) -> None:
    sampler = Sampler([full(*shape)], recipe(patch=(12, 16, 10), augmentation=MOVES))
    for number in range(5):
        for found, alone in zip(sampler.batch(number), changed_alone(sampler, number), strict=True):
            assert torch.equal(found, alone)


def test_forced_patches_come_to_every_process() -> None:
    asked = recipe(patch=(3, 3, 3))
    for rank in range(2):
        # So large that a patch holds a label by chance once in 10,000.
        part = Sampler([case("a", (60, 60, 60))], asked, share=(rank, 2))
        seen = [bool((part.batch(number)[1] > 0).any()) for number in range(8)]
        assert seen == [number % 2 != rank for number in range(8)]


def test_slices_are_cut_across_the_axes_asked_for() -> None:
    sampler = Sampler([case("a")], recipe(patch=(6, 6)), axes=(0, 2))
    shapes, steps = set(), set()
    for number in range(20):
        images, targets = sampler.batch(number)
        shapes |= {tuple(images.shape), tuple(targets.shape)}
        steps.add(float(images[0, 0, 0, 1] - images[0, 0, 0, 0]))
    assert shapes == {(4, 1, 6, 6)}
    # Along z voxels count up by one, along y by ten; both kinds of slices came.
    assert steps == {1.0, 10.0}


def test_a_case_without_labels_gives_patches_all_the_same() -> None:
    empty = case("a", at=None)
    assert empty.foreground == {}
    assert Sampler([empty], recipe(foreground=1.0)).batch(0)[1].sum() == 0


def test_many_foreground_voxels_are_remembered_sparsely_and_evenly() -> None:
    shape = (40, 40, 40)
    grid = Grid(np.eye(4), shape)
    full = LabelMap(np.ones(shape, np.uint8), grid, LABELS)
    found = Case("a", Volume(np.zeros((1, *shape), np.float32), grid), full).foreground[1]
    assert 5_000 < len(found) <= 10_000
    assert found[:, 0].min() == 0
    assert found[:, 0].max() == 39


def patch(dims: int) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    space = (11, 12, 10)[:dims]
    return torch.rand(2, *space), torch.randint(0, 3, (1, *space)).float() * 5


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", AUGMENTATION)
def test_an_augmentation_keeps_shape_type_and_the_set_of_values(name: str, dims: int) -> None:
    image, target = patch(dims)
    change = AUGMENTATION[name](prob=1.0)
    new, moved = change((image, target), np.random.RandomState(3))
    assert type(new) is torch.Tensor
    assert new.shape == image.shape
    assert new.dtype == torch.float32
    assert new.isfinite().all()
    assert moved.shape == target.shape
    assert set(moved.unique().tolist()) <= {0.0, 5.0, 10.0}
    assert not torch.equal(new, image)
    again, _ = AUGMENTATION[name](prob=1.0)((image, target), np.random.RandomState(3))
    assert torch.equal(again, new)


@pytest.mark.parametrize("name", AUGMENTATION)
def test_probability_zero_changes_nothing(name: str) -> None:
    image, target = patch(3)
    new, moved = AUGMENTATION[name](prob=0.0)((image, target), np.random.RandomState(0))
    assert torch.equal(new, image)
    assert torch.equal(moved, target)


def test_a_flip_moves_image_and_target_together() -> None:
    image, target = patch(3)
    new, moved = RandFlip(prob=1.0, axes=(1,))((image, target), np.random.RandomState(0))
    assert torch.equal(new, image.flip(2))
    assert torch.equal(moved, target.flip(2))


def test_an_affine_that_does_nothing_is_the_identity() -> None:
    still = RandAffine(prob=1.0, rotate_degrees=0.0, scale_range=(1.0, 1.0))
    image, target = patch(3)
    new, moved = still((image, target), np.random.RandomState(0))
    assert torch.allclose(new, image, atol=1e-5)
    assert torch.equal(moved, target)


def test_a_scale_above_one_magnifies() -> None:
    ball = (torch.linspace(-1, 1, 21) ** 2)[:, None, None].expand(21, 21, 21)
    ball = ((ball + ball.transpose(0, 1) + ball.transpose(0, 2)) < 0.25).float()[None]
    larger = RandAffine(prob=1.0, rotate_degrees=0.0, scale_range=(1.5, 1.5))
    new, moved = larger((ball, ball), np.random.RandomState(0))
    assert moved.sum() / ball.sum() == pytest.approx(1.5**3, rel=0.15)
    assert new.sum() / ball.sum() == pytest.approx(1.5**3, rel=0.15)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rand_flip", {"prob": 1.5}),
        ("rand_flip", {"axes": (0, 0)}),
        ("rand_flip", {"axes": (3,)}),
        ("rand_affine", {"scale_range": (1.2, 0.8)}),
        ("rand_affine", {"translate_voxels": -1.0}),
        ("rand_gaussian_smooth", {"sigma_voxels": (1.0, 0.5)}),
        ("rand_adjust_contrast", {"gamma": (0.0, 1.0)}),
        ("rand_low_resolution", {"zoom_range": (0.0, 1.0)}),
    ],
)
def test_options_of_augmentations_are_checked(name: str, options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="not"):
        AUGMENTATION[name](**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "options",
    [
        {"max_epochs": None},
        {"max_minutes": 0.0},
        {"batch": 0},
        {"foreground": 1.5},
        {"learning_rate": 0.0},
        {"weight_decay": -1.0},
        {"dice_weight": 0.0, "cross_entropy_weight": 0.0},
        {"patch": (0, 4, 4)},
        {"fold_count": 1},
    ],
)
def test_a_recipe_that_cannot_be_is_refused_with_a_sentence(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"training|above 0|at least|lies in|or more|cannot|sides"):
        recipe(**options)
