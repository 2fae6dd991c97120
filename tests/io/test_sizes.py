"""Numbers of bytes as a person reads them."""

from __future__ import annotations

import pytest

from medseg.io.sizes import by, in_bytes, in_gib, spaced


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1_000, "1.0 kB"),
        (12_345, "12 kB"),
        (3_000_000_000, "3.0 GB"),
        (70_368e9, "70 368 GB"),
    ],
)
def test_sizes_have_the_unit_that_suits_them(number: float, words: str) -> None:
    assert in_bytes(number) == words


@pytest.mark.parametrize(
    ("number", "words"), [(150.04, "150.0"), (0.1, "0.1"), (0.00047, "0.00047")]
)
def test_gibibytes_are_short(number: float, words: str) -> None:
    assert in_gib(number) == words


def test_thousands_are_set_apart_and_shapes_are_said() -> None:
    assert spaced(41_302_016) == "41 302 016"
    assert by((512, 512, 160)) == "512 x 512 x 160"
