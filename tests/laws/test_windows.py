"""Seams: windows, however they stand, say what the network would say of each voxel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medseg.inference.engine import mirrored
from medseg.inference.limits import Placement
from medseg.inference.windows import Windows, blended, grown, importance, starts, whole

sides = st.integers(1, 19)
triples = st.tuples(sides, sides, sides)


def pointwise(image: Tensor) -> Tensor:
    """A network that looks at one voxel at a time: no seam can be right but none."""
    return torch.cat([image[:, :1] * 2 + 1, image[:, :1] - 3], 1)


def asked(batch: int) -> Placement:
    return Placement(torch.device("cpu"), torch.device("cpu"), batch)


def windows_over(image: Tensor, size: tuple[int, int, int], overlap: float, how: str) -> Windows:
    x, y, z = image.shape[1:]
    return Windows((x, y, z), size, overlap, how)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=60)
@given(
    shape=triples,
    size=triples,
    overlap=st.floats(0, 0.9),
    how=st.sampled_from(["gaussian", "constant"]),
    batch=st.integers(1, 5),
)
def test_blending_is_a_partition_of_unity(
    shape: tuple[int, int, int],
    size: tuple[int, int, int],
    overlap: float,
    how: str,
    batch: int,
) -> None:
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(1, *shape))).float()
    larger, inner = grown(image, size)
    rows = blended(larger, windows_over(larger, size, overlap, how), pointwise, asked(batch))
    said = whole(rows, larger.shape[1])[inner]
    assert torch.allclose(said, pointwise(image[None])[0], atol=1e-5)


def test_batches_are_full_but_for_the_last_also_where_a_row_has_one_window() -> None:
    image, seen = torch.randn(1, 11, 6, 5), []

    def counted(windows: Tensor) -> Tensor:
        seen.append(len(windows))
        return pointwise(windows)

    whole(blended(image, windows_over(image, (1, 6, 5), 0.5, "constant"), counted, asked(4)), 11)
    assert seen == [4, 4, 3]


@given(length=st.integers(1, 300), window=st.integers(1, 300), overlap=st.floats(0, 0.99))
def test_windows_begin_at_the_start_end_at_the_end_and_leave_no_gap(
    length: int, window: int, overlap: float
) -> None:
    found = starts(length, window, overlap)
    assert found[0] == 0
    assert found[-1] == max(0, length - window)
    gaps = np.diff(found)
    assert (gaps > 0).all()
    assert (gaps <= window).all()


@pytest.mark.parametrize(
    ("window", "overlap", "step"), [(10, 0.8, 2), (160, 0.9, 16), (100, 0.7, 30), (7, 0.5, 3)]
)
def test_windows_are_as_few_as_the_overlap_allows(window: int, overlap: float, step: int) -> None:
    assert len(starts(window + 20 * step, window, overlap)) == 21
    assert len(starts(window + 20 * step + 1, window, overlap)) == 22


def test_half_overlap_shares_half_a_window() -> None:
    assert starts(96, 32, 0.5) == [0, 16, 32, 48, 64]


@pytest.mark.parametrize("window", [1, 2, 7, 96])
def test_importance_is_even_positive_and_highest_in_the_middle(window: int) -> None:
    weight = importance(window, "gaussian")
    assert (weight > 0).all()
    assert np.allclose(weight, weight[::-1])
    assert weight.argmax() in (window // 2, (window - 1) // 2)


def test_blending_agrees_with_monai_where_windows_stand_alike() -> None:
    from monai.inferers import sliding_window_inference

    torch.manual_seed(0)
    network = torch.nn.Conv3d(1, 3, 3, padding=1).eval()
    image = torch.randn(1, 24, 32, 16)
    with torch.no_grad():
        windows = windows_over(image, (8, 8, 8), 0.5, "constant")
        mine = whole(blended(image, windows, network, asked(3)), image.shape[1])
        theirs = sliding_window_inference(image[None], (8, 8, 8), 4, network, overlap=0.5)[0]
    assert torch.allclose(mine, theirs, atol=1e-5)


def test_growing_puts_the_volume_in_the_middle_of_zeros() -> None:
    image = torch.ones(2, 3, 4, 9)
    larger, inner = grown(image, (6, 4, 5))
    assert larger.shape == (2, 6, 4, 9)
    assert torch.equal(larger[inner], image)
    assert larger.sum() == image.sum()
    assert larger[:, 0].sum() == 0
    assert larger[:, -1].sum() == 0


@pytest.mark.parametrize("axes", [(0,), (1, 2), (0, 1, 2)])
def test_mirrors_are_turned_back_before_they_are_averaged(axes: tuple[int, ...]) -> None:
    image = torch.randn(2, 1, 5, 6, 7)
    assert torch.allclose(mirrored(pointwise, axes)(image), pointwise(image), atol=1e-6)


def test_mirroring_makes_any_network_symmetric() -> None:
    torch.manual_seed(0)
    network = torch.nn.Conv3d(1, 2, 3, padding=1)
    image = torch.randn(1, 1, 6, 6, 6)
    ask = mirrored(network, (0,))
    assert not torch.allclose(network(image.flip(2)).flip(2), network(image), atol=1e-3)
    assert torch.allclose(ask(image.flip(2)).flip(2), ask(image), atol=1e-5)
