"""Augmentations: whole batches as one by one, by MONAI's laws, and laws of their own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from monai import transforms

from medseg.image import Label, Labels
from medseg.training import AUGMENTATION
from medseg.training.sampling import Sampler
from medseg.training.spatial import RandElastic, RandFlip
from medseg.training.warping import bent, blurred

SPACE = (21, 24, 18)


def batch(dims: int, count: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    space = SPACE[:dims]
    return torch.randn(count, 2, *space), torch.randint(0, 3, (count, 1, *space)).float() * 5


def chances(count: int = 4) -> list[np.random.RandomState]:
    return [np.random.RandomState(seed) for seed in range(count)]


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", AUGMENTATION)
def test_a_batch_at_once_is_its_patches_one_by_one(name: str, dims: int) -> None:
    images, targets = batch(dims)
    change = AUGMENTATION[name](prob=0.6)
    kept = images.clone(), targets.clone()
    new, moved = change.on_batch(images, targets, chances())
    for place, chance in enumerate(chances()):
        image, target = change((images[place], targets[place]), chance)
        assert torch.allclose(image, new[place], atol=1e-5)
        assert torch.equal(target, moved[place])
    assert 0 < sum(not torch.equal(a, b) for a, b in zip(new, images, strict=True)) < 5
    # What came in is not written to.
    assert torch.equal(images, kept[0])
    assert torch.equal(targets, kept[1])


THEIRS: dict[str, Any] = {
    "rand_gaussian_noise": lambda: transforms.RandGaussianNoise(prob=0.6, std=0.1),
    "rand_gaussian_smooth": lambda: transforms.RandGaussianSmooth(
        prob=0.6, sigma_x=(0.5, 1.0), sigma_y=(0.5, 1.0), sigma_z=(0.5, 1.0)
    ),
    "rand_scale_intensity": lambda: transforms.RandScaleIntensity(prob=0.6, factors=0.25),
    "rand_shift_intensity": lambda: transforms.RandShiftIntensity(prob=0.6, offsets=0.1),
    "rand_adjust_contrast": lambda: transforms.RandAdjustContrast(
        prob=0.6, gamma=(0.7, 1.5), retain_stats=True
    ),
    "rand_bias_field": lambda: transforms.RandBiasField(prob=0.6, coeff_range=(0.0, 0.1)),
}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("name", THEIRS)
def test_monai_draws_and_changes_the_same(name: str, dims: int) -> None:
    images, targets = batch(dims, 8)
    new, _ = AUGMENTATION[name](prob=0.6).on_batch(images, targets, chances(8))
    theirs = THEIRS[name]()
    for image, found, chance in zip(images, new, chances(8), strict=True):
        theirs.set_random_state(state=chance)
        assert torch.allclose(found, theirs(image).as_tensor(), atol=2e-4)


@pytest.mark.parametrize("dims", [2, 3])
def test_an_affine_reads_where_monai_reads(dims: int) -> None:
    from medseg.training.warping import affine, moved, read_by

    images, targets = batch(dims, 1)
    angles, scales, shifts = [0.4, -0.2, 0.1], [1.2, 0.9, 1.05][:dims], [2.0, -1.5, 0.5][:dims]
    new, labels = moved(images, targets, read_by([affine(angles, scales, shifts)], images))
    for mine, voxels, mode in ((new, images, "bilinear"), (labels, targets, "nearest")):
        theirs = transforms.Affine(
            rotate_params=angles if dims == 3 else angles[0],
            scale_params=scales,
            translate_params=shifts,
            padding_mode="zeros",
            mode=mode,
            image_only=True,
        )(voxels[0])
        assert torch.allclose(mine[0], theirs.as_tensor(), atol=1e-4)


@pytest.mark.parametrize("dims", [2, 3])
def test_nothing_bends_farther_than_its_magnitude_and_nothing_folds(dims: int) -> None:
    elastic = RandElastic(prob=1.0, control_voxels=8, magnitude_voxels=(2.0, 2.0))
    images, _ = batch(dims, 3)
    drawn = [elastic._drawn(chance, images.shape[1:]) for chance in chances(3)]
    places = bent([one.points for one in drawn], images)
    index = bent([np.zeros_like(one.points) for one in drawn], images)
    assert (places - index).abs().max() <= 2.0
    assert (places - index).abs().max() > 1.0
    for axis in range(dims):
        # Neighbours stay in their order along every axis.
        assert places[..., axis].diff(dim=1 + axis).min() > 0


def test_a_bend_of_nothing_is_the_identity() -> None:
    images, targets = batch(3)
    still = RandElastic(prob=1.0, magnitude_voxels=(0.0, 0.0))
    new, moved = still.on_batch(images, targets, chances())
    assert torch.allclose(new, images, atol=1e-4)
    assert torch.equal(moved, targets)


def test_a_bend_that_could_fold_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^control_voxels is 4 times"):
        RandElastic(control_voxels=8, magnitude_voxels=(0.0, 3.0))


def test_a_blur_keeps_a_constant_within_and_widens_a_point_by_its_width() -> None:
    flat = torch.ones(1, 1, 41, 41)
    assert torch.allclose(blurred(flat, [[2.0, 1.0]])[..., 10:-10, 10:-10], torch.ones(21, 21))
    point = torch.zeros(1, 1, 41, 41)
    point[..., 20, 20] = 1
    found = blurred(point, [[2.0, 1.0]])[0, 0]
    x = torch.arange(41) - 20.0
    assert float((found.sum(1) * x**2).sum()) ** 0.5 == pytest.approx(2.0, rel=0.03)
    assert float((found.sum(0) * x**2).sum()) ** 0.5 == pytest.approx(1.0, rel=0.06)


def test_contrast_keeps_mean_deviation_and_the_order_of_voxels() -> None:
    images, targets = batch(3)
    new, _ = AUGMENTATION["rand_adjust_contrast"](prob=1.0).on_batch(images, targets, chances())
    over = (1, 2, 3, 4)
    assert torch.allclose(new.mean(over), images.mean(over), atol=1e-5)
    assert torch.allclose(new.std(over), images.std(over), atol=1e-4)
    for one, other in zip(images, new, strict=True):
        assert other.flatten()[one.flatten().argsort()].diff().min() >= 0


def test_a_coarser_image_has_no_more_detail_and_keeps_its_range() -> None:
    images, targets = batch(3)
    low = AUGMENTATION["rand_low_resolution"](prob=1.0, zoom_range=(0.5, 0.5))
    new, _ = low.on_batch(images, targets, chances())
    assert new.diff(dim=2).abs().mean() < images.diff(dim=2).abs().mean()
    assert new.amax() <= images.amax()
    assert new.amin() >= images.amin()


SIDES = Labels((Label("kidney_left", (5,)), Label("kidney_right", (10,)), Label("liver", (3,))))


def test_mirrored_twice_with_names_exchanged_everything_is_as_it_was() -> None:
    images, targets = batch(3)
    swap = RandFlip(prob=1.0, axes=(0,), swap={"kidney_left": "kidney_right"}).of(SIDES)
    once = swap.on_batch(images, targets, chances())
    assert torch.equal(once[1] == 5, targets.flip(2) == 10)
    assert torch.equal(once[1] == 10, targets.flip(2) == 5)
    again = swap.on_batch(*once, chances())
    assert torch.equal(again[0], images)
    assert torch.equal(again[1], targets)


def test_names_are_exchanged_only_where_the_first_axis_is_mirrored() -> None:
    images, targets = batch(3)
    swap = RandFlip(prob=1.0, axes=(1, 2), swap={"kidney_left": "kidney_right"}).of(SIDES)
    assert torch.equal(swap.on_batch(images, targets, chances())[1], targets.flip(3, 4))


@pytest.mark.parametrize(
    ("normal", "dims"), [(0, (2, 3)), (1, (3,)), (2, (3,))], ids=["sagittal", "coronal", "axial"]
)
def test_slices_are_mirrored_along_the_axes_of_their_volume(
    normal: int, dims: tuple[int, ...]
) -> None:
    images, targets = batch(2)
    flip = RandFlip(prob=1.0, axes=(1, 2)).across(normal)
    assert torch.equal(flip.on_batch(images, targets, chances())[0], images.flip(dims))
    alone = RandFlip(prob=1.0, axes=(normal,)).across(normal)
    assert torch.equal(alone.on_batch(images, targets, chances())[0], images)


@pytest.mark.parametrize(
    ("one", "other"),
    [("kidney_left", "kidney_right"), ("Left lung", "right Lung"), ("ventricle-L", "ventricle-R")],
)
def test_a_left_never_becomes_a_right_without_its_name(one: str, other: str) -> None:
    labels = Labels((Label(one, (1,)), Label(other, (2,)), Label("liver", (3,))))
    with pytest.raises(ValueError, match=r"^axes: .* mirror image along axis 0"):
        RandFlip(axes=(0, 1)).of(labels)
    with pytest.raises(ValueError, match=r"^axes: "):
        RandFlip(swap={one: "liver"}).of(labels)
    for fine in (RandFlip(axes=(1, 2)), RandFlip(swap={other: one}), RandFlip(prob=0.0)):
        fine.of(labels)


def test_names_that_only_hold_a_side_are_nobodys_mirror_image() -> None:
    RandFlip().of(Labels((Label("cleft", (1,)), Label("bright", (2,)), Label("left", (3,)))))


def test_regions_of_several_values_cannot_be_exchanged() -> None:
    parts = Labels((Label("left", (1, 2)), Label("right", (2,))))
    with pytest.raises(ValueError, match="one value each"):
        RandFlip(swap={"left": "right"}).of(parts)
    with pytest.raises(ValueError, match=r"^swap names every label once"):
        RandFlip(swap={"left": "right", "right": "left"})


def test_two_processes_have_the_halves_of_one_batch() -> None:
    from training.test_sampling import case, recipe

    cases = [case(str(number)) for number in range(5)]
    noisy = recipe(augmentation=(RandFlip(), AUGMENTATION["rand_gaussian_noise"](prob=0.5)))
    for number in (3, 4):
        whole = Sampler(cases, noisy).batch(number)
        halves = [Sampler(cases, noisy, share=(rank, 2)).batch(number) for rank in range(2)]
        # The process that begins takes turns.
        first, second = halves if number % 2 == 0 else halves[::-1]
        for part in range(2):
            both = torch.stack([first[part], second[part]], 1).flatten(0, 1)
            assert torch.equal(both, whole[part])
