"""Which studies train and which are held out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medseg.errors import InputError
from medseg.run.folds import split
from medseg.training import Training

NAMES = [f"study_{number:02d}" for number in range(23)]


def recipe(**options: object) -> Training:
    return Training(patch=(8, 8, 8), max_epochs=1, **options)  # type: ignore[arg-type]


def test_without_a_fold_every_study_trains() -> None:
    parts = split(NAMES, recipe(), None)
    assert parts.trained_on == tuple(NAMES)
    assert parts.held_out == ()


def test_dealt_folds_hold_every_study_out_exactly_once() -> None:
    held = [name for fold in "01234" for name in split(NAMES, recipe(), fold).held_out]
    assert sorted(held) == NAMES


def test_what_trains_is_never_held_out() -> None:
    for fold in "01234":
        parts = split(NAMES, recipe(), fold)
        assert not set(parts.trained_on) & set(parts.held_out)
        assert set(parts.validated) <= set(parts.held_out)


def test_another_seed_deals_other_folds() -> None:
    assert split(NAMES, recipe(seed=1), "0") != split(NAMES, recipe(seed=2), "0")


def test_a_file_of_folds_decides_and_leaves_strangers_out(tmp_path: Path) -> None:
    folds = tmp_path / "folds.json"
    folds.write_text(json.dumps({"1": NAMES[:3], "2": NAMES[3:8]}))
    parts = split(NAMES, recipe(folds=folds), "1")
    assert parts.held_out == tuple(NAMES[:3])
    assert parts.trained_on == tuple(NAMES[3:8])


@pytest.mark.parametrize(
    ("text", "fold", "told"),
    [
        ('{"1": ["a"]}', "2", "no fold '2'"),
        ('{"1": ["nobody"], "2": ["study_01"]}', "1", "do the names match"),
        ("[1, 2]", "1", "wants {fold: [study, ...]}"),
        ("{", "1", "not a JSON file"),
    ],
)
def test_a_fold_that_cannot_be_is_explained(
    tmp_path: Path, text: str, fold: str, told: str
) -> None:
    folds = tmp_path / "folds.json"
    folds.write_text(text)
    with pytest.raises(InputError, match="E_NO_INPUT") as error:
        split(NAMES, recipe(folds=folds), fold)
    assert told in str(error.value)
