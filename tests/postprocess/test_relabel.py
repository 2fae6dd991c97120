"""Other values for labels, and a table that says so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.masks import ORGANS, TUMOUR, mask_of, masks

from medseg.image import Label, LabelMap, Labels
from medseg.postprocess import Relabel

laws = settings(max_examples=30, deadline=None)


@laws
@given(masks(), st.permutations([1, 2, 5, 300]))
def test_volumes_by_name_stay_the_same(mask: LabelMap, values: list[int]) -> None:
    step = Relabel(dict(zip(("a", "b", "c"), values, strict=False)))
    written = step(mask)
    assert written.volumes_ml() == mask.volumes_ml()
    for name in mask.labels.names:
        assert np.array_equal(written.where(name), mask.where(name))
        assert written.labels[name].values == (step.values[name],)


@laws
@given(masks())
def test_there_and_back_changes_nothing(mask: LabelMap) -> None:
    back = Relabel({"a": 1, "b": 2, "c": 5})(Relabel({"a": 2, "b": 1, "c": 9})(mask))
    assert np.array_equal(back.data, mask.data)
    assert back.data.dtype == mask.data.dtype
    assert back.labels == mask.labels


def test_a_label_keeps_its_colour_its_code_and_its_neighbours() -> None:
    labels = Labels((Label("liver", (1,), "#aabbcc", "SCT:1"), Label("spleen", (2,))), 255)
    data = np.array([0, 1, 2, 255], np.uint8).reshape(4, 1, 1)
    written = Relabel({"liver": 7})(mask_of(data, labels))
    assert written.labels["liver"] == Label("liver", (7,), "#aabbcc", "SCT:1")
    assert written.labels["spleen"] == Label("spleen", (2,))
    assert written.labels.ignore == 255
    assert written.data.ravel()[:3].tolist() == [0, 7, 2]


def test_0_takes_a_label_away() -> None:
    data = np.array([0, 1, 2, 5], np.uint8).reshape(4, 1, 1)
    written = Relabel({"b": 0})(mask_of(data))
    assert written.labels.names == ("a", "c")
    assert written.data.ravel().tolist() == [0, 1, 0, 5]


def test_values_of_no_label_become_background() -> None:
    data = np.array([9, 1, 77, 5], np.uint8).reshape(4, 1, 1)
    assert Relabel({"a": 3})(mask_of(data)).data.ravel().tolist() == [0, 3, 0, 5]


def test_a_value_above_255_makes_a_wider_mask() -> None:
    written = Relabel({"a": 1000})(mask_of(np.ones((2, 2, 2))))
    assert written.data.dtype == np.uint16
    assert (written.data == 1000).all()


@pytest.mark.parametrize(
    ("values", "labels", "says"),
    [
        ({"a": 5}, ORGANS, "gives two labels one value"),
        ({"d": 5}, ORGANS, r"values name labels that this mask does not have: \['d'\]"),
        ({"core": 9}, TUMOUR, "relabel is for exclusive labels; whole is a region"),
        ({"a": 0, "b": 0, "c": 0}, ORGANS, "at least one label"),
    ],
)
def test_a_table_that_means_nothing_is_refused(
    values: dict[str, int], labels: Labels, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        Relabel(values)(mask_of(np.zeros((2, 2, 2)), labels))


def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="values names at least one label"):
        Relabel({})
    for value in (-1, 65536):
        with pytest.raises(ValueError, match=f"a cannot be written as {value}; 0 to 65535"):
            Relabel({"a": value})
