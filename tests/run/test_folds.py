"""Which studies train and which are held out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.errors import InputError
from medseg.image import Study
from medseg.run.folds import folds_of, roll, split
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


def visits(count: int = 12) -> list[Study]:
    """Two visits each of ``count`` patients; every third patient has a tumour."""
    return [
        Study(
            f"p{number:02d}_visit{visit}",
            (Path("x"),),
            attributes={"patient": f"p{number:02d}", "tumour": str(number % 3 == 0)},
        )
        for number in range(count)
        for visit in (1, 2)
    ]


@pytest.mark.parametrize("group", ["patient", r"(.*)_visit\d"])
def test_a_patient_is_never_in_two_folds(group: str) -> None:
    asked = recipe(group=group, fold_count=5)
    known = roll(visits(), asked, {})
    folds = folds_of(known, asked)
    assert sorted(name for members in folds.values() for name in members) == sorted(known.names)
    where: dict[str, set[str]] = {}
    for fold, members in folds.items():
        for name in members:
            where.setdefault(name[:3], set()).add(fold)
    assert all(len(found) == 1 for found in where.values())
    sizes = [len(members) for members in folds.values()]
    assert max(sizes) - min(sizes) <= 2


@given(
    kinds=st.lists(st.sampled_from("abc"), min_size=6, max_size=40),
    seed=st.integers(0, 99),
    count=st.integers(2, 5),
)
def test_every_fold_has_its_part_of_each_kind(kinds: list[str], seed: int, count: int) -> None:
    studies = [
        Study(f"s{n}", (Path("x"),), attributes={"kind": kind}) for n, kind in enumerate(kinds)
    ]
    asked = recipe(stratify="kind", fold_count=count, seed=seed)
    folds = folds_of(roll(studies, asked, {}), asked)
    by_name = {study.name: study.attributes["kind"] for study in studies}
    for kind in "abc":
        parts = [sum(by_name[name] == kind for name in members) for members in folds.values()]
        assert max(parts) - min(parts) <= 1


def test_which_labels_a_study_has_can_be_its_kind() -> None:
    studies = [Study(f"s{n}", (Path("x"),)) for n in range(20)]
    values = {study.name: (1, 2) if n < 5 else (1,) for n, study in enumerate(studies)}
    asked = recipe(stratify="labels")
    folds = folds_of(roll(studies, asked, values), asked)
    assert [sum(values[name] == (1, 2) for name in m) for m in folds.values()] == [1] * 5


def test_a_column_that_is_not_there_is_said() -> None:
    with pytest.raises(InputError, match=r"training.group is 'site'.*patient, tumour"):
        roll(visits(), recipe(group="site"), {})
    with pytest.raises(InputError, match="has no group by"):
        roll(visits(), recipe(group=r"(\d+)_scan"), {})
    with pytest.raises(ValueError, match=r"^group is no pattern"):
        recipe(group="(")
    with pytest.raises(ValueError, match=r"^group has one group"):
        recipe(group="(a)(b)")


def test_a_file_of_folds_that_parts_a_patient_is_refused(tmp_path: Path) -> None:
    folds = tmp_path / "folds.json"
    folds.write_text(json.dumps({"1": ["p00_visit1"], "2": ["p00_visit2", "p01_visit1"]}))
    asked = recipe(folds=folds, group="patient")
    with pytest.raises(InputError, match="parts the group 'p00'"):
        split(roll(visits(), asked, {}), asked, "1")


def test_without_groups_and_kinds_folds_are_dealt_as_they_always_were() -> None:
    studies = [Study(name, (Path("x"),)) for name in NAMES]
    assert split(roll(studies, recipe(), {}), recipe(), "3") == split(NAMES, recipe(), "3")
