"""Single options: what fits a type, strictly, and what is said of the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from medseg.pipeline.leaves import UnfitError, found, leaf, wanted
from medseg.pipeline.source import Node, Source, parse


def node(text: str) -> Node:
    read, complaints = parse(Source("a.yaml", text, Path("/folder")))
    assert complaints == []
    assert read is not None
    return read


POSITIVE = Annotated[int, Field(gt=0)]


@pytest.mark.parametrize(
    ("hint", "text", "value"),
    [
        (int, "3", 3),
        (float, "3", 3.0),
        (float, "1e-3", 0.001),
        (bool, "true", True),
        (str, "'3'", "3"),
        (Path, "a/../b.nii", Path("/folder/b.nii")),
        (Path, "/x", Path("/x")),
        (Path | None, "null", None),
        (Literal[0, 1, 2], "1", 1),
        (Literal["a", "b"], "b", "b"),
        (tuple[int, ...], "[1, 2]", (1, 2)),
        (tuple[int, ...], "[]", ()),
        (tuple[float, float], "[1, 2.5]", (1.0, 2.5)),
        (tuple[int | tuple[int, ...], ...], "[1, [2, 3]]", (1, (2, 3))),
        (tuple[float | None, float], "[null, 1]", (None, 1.0)),
        (Mapping[str, int], "{a: 1}", {"a": 1}),
        (Mapping[str, Any], "{a: [1, {b: x}]}", {"a": (1, {"b": "x"})}),
        (Sequence[int], "[1, 2]", (1, 2)),
        (tuple[Path, ...], "[a, b]", (Path("/folder/a"), Path("/folder/b"))),
        (float | tuple[float, ...], "2", 2.0),
        (POSITIVE, "2", 2),
    ],
)
def test_what_fits_becomes_the_value(hint: Any, text: str, value: object) -> None:
    got = leaf(hint, node(text))
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("hint", "text", "said"),
    [
        (int, "true", "wants a whole number, not true"),
        (int, "1.0", "wants a whole number, not 1.0"),
        (int, "x", "wants a whole number, not 'x'"),
        (float, "true", "wants a number, not true"),
        (float, "'1'", "wants a number, not '1'"),
        (float, ".inf", "wants a number, not inf"),
        (float, "1" + "0" * 320, "wants a number, not 1000000"),
        (float, "[1]", "wants a number, not [1]"),
        (bool, "1", "wants true or false, not 1"),
        (bool, "Off", "wants true or false, not 'Off'; write false"),
        (bool, "yes", "wants true or false, not 'yes'; write true"),
        (str, "1", "wants a text, not 1"),
        (str, "null", "wants a text, not nothing"),
        (Path, "1", "wants a path, not 1"),
        (Path, "''", "wants a path, not ''"),
        (Literal[0, 1, 2], "true", "wants 0, 1 or 2, not true"),
        (Literal[0, 1, 2], "1.0", "wants 0, 1 or 2, not 1.0"),
        (Literal[3], "4", "wants 3, not 4"),
        (Literal["linear", "cubic"], "cubc", "wants 'linear' or 'cubic', not 'cubc'; did you mean"),
        (Literal["linear", "cubic"], "other", "wants 'linear' or 'cubic', not 'other'"),
        (tuple[int, int, int], "[1, 2]", "wants three whole numbers, not [1, 2]"),
        (tuple[int, str], "[1, 2]", "wants a list of a whole number, then a text, not [1, 2]"),
        (tuple[int, ...], "{a: 1}", "wants a list of whole numbers, not {a: ...}"),
        (tuple[Literal[0, 1], ...], "[5]", "wants a list of (0 or 1), not [5]"),
        (tuple[bool, bool], "[1, 2]", "wants two (true or false), not [1, 2]"),
        (Sequence[float], "3", "wants a list of numbers, not 3"),
        (Mapping[str, int], "{a: x}", "wants a mapping to whole numbers, not {a: ...}"),
        (float | tuple[float, ...], "x", "wants a number or a list of numbers, not 'x'"),
        (tuple[int, ...] | None, "x", "wants a list of whole numbers or nothing, not 'x'"),
        (POSITIVE, "0", "wants a whole number, not 0: input should be greater than 0"),
        (tuple[int, ...], "[1, 2, 3, 4, 5, 6, 7, x]", "not [1, 2, 3, 4, 5, 6, ...]"),
        (int, "a" * 90, "..."),
    ],
)
def test_what_does_not_fit_is_said_with_what_was_wanted(hint: Any, text: str, said: str) -> None:
    with pytest.raises(UnfitError) as caught:
        leaf(hint, node(text))
    assert said in str(caught.value)
    assert len(str(caught.value)) < 150


def test_the_item_that_does_not_fit_is_pointed_at() -> None:
    with pytest.raises(UnfitError) as caught:
        leaf(tuple[int, ...], node("[1, x, 3]"))
    assert caught.value.node.column == 5
    with pytest.raises(UnfitError) as caught:
        leaf(tuple[int, ...], node("[1, x, y]"))
    assert caught.value.node.column == 1


def test_a_type_of_another_package_is_a_value_of_some_kind() -> None:
    class Odd:
        pass

    assert wanted(Odd) == "a value"
    with pytest.raises(UnfitError, match="wants a value, not 3"):
        leaf(Odd, node("3"))


def test_what_was_found_is_said_on_one_line() -> None:
    assert found("a\nb") == "'a\\nb'"
    assert found({}) == "{}"
    assert found((None, True)) == "[nothing, true]"
