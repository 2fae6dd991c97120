"""Which studies train and which are held out."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.errors import InputError
from medseg.image import Study
from medseg.training import Training

ALL = "all"
"""The name that stands for every fold in turn."""


@dataclass(frozen=True)
class Split:
    """Names of studies: what is trained on, what is held out, and what of it validates."""

    trained_on: tuple[str, ...]
    held_out: tuple[str, ...] = ()
    validated: tuple[str, ...] = ()


@dataclass(frozen=True)
class Roll:
    """The studies of a data set with what folds go by: each one's group and its kind."""

    names: tuple[str, ...]
    groups: Mapping[str, str]
    kinds: Mapping[str, str]

    @classmethod
    def plain(cls, names: Iterable[str]) -> Roll:
        """Every study a group of its own, and all of one kind."""
        known = tuple(names)
        return cls(known, {name: name for name in known}, dict.fromkeys(known, ""))


def roll(studies: Sequence[Study], recipe: Training, values: Mapping[str, tuple[int, ...]]) -> Roll:
    """The studies by the recipe's ``group`` and ``stratify``; ``values`` are those of masks.

    Raises InputError E_NO_INPUT where a study has no such column, or a name no such group.
    """
    plain = Roll.plain(study.name for study in studies)
    groups, kinds = dict(plain.groups), dict(plain.kinds)
    for study in studies:
        if recipe.group is not None:
            groups[study.name] = _said_of(study, recipe.group, "group")
        if recipe.stratify == "labels":
            kinds[study.name] = repr(values.get(study.name, ()))
        elif recipe.stratify is not None:
            kinds[study.name] = _said_of(study, recipe.stratify, "stratify")
    return Roll(plain.names, groups, kinds)


def _said_of(study: Study, wanted: str, option: str) -> str:
    if option == "group" and "(" in wanted:
        match = re.search(wanted, study.name)
        if match is not None and match[1] is not None:
            return match[1]
        told = f"the name {study.name!r} has no group by training.group {wanted!r}"
        raise InputError("E_NO_INPUT", told)
    if wanted in study.attributes:
        return study.attributes[wanted]
    columns = ", ".join(study.attributes) or "no column but those of files"
    raise InputError(
        "E_NO_INPUT",
        f"training.{option} is {wanted!r}, and the manifest has {columns} for {study.name}",
    )


def split(names: Sequence[str] | Roll, recipe: Training, fold: str | None) -> Split:
    """Hold ``fold`` out; without one, train on everything.

    Raises InputError E_NO_INPUT where the fold is not there or leaves nothing to train on, or
    where a file of folds parts a group.
    """
    known = names if isinstance(names, Roll) else Roll.plain(names)
    if fold is None:
        return Split(known.names)
    folds = folds_of(known, recipe)
    if fold not in folds:
        raise InputError(
            "E_NO_INPUT", f"there is no fold {fold!r}; there are {', '.join(folds)}", recipe.folds
        )
    in_some = {name for members in folds.values() for name in members}
    held = tuple(name for name in known.names if name in set(folds[fold]))
    rest = tuple(name for name in known.names if name in in_some and name not in held)
    if not held or not rest:
        raise InputError(
            "E_NO_INPUT",
            f"fold {fold!r} holds {len(held)} of these studies out and leaves {len(rest)} to"
            " train on; do the names match?",
            recipe.folds,
        )
    chance = np.random.default_rng([recipe.seed, 11])
    some = chance.permutation(len(held))[: recipe.validate]
    return Split(rest, held, tuple(held[place] for place in sorted(some)))


def folds_of(known: Roll, recipe: Training) -> Mapping[str, Sequence[str]]:
    """The members of every fold, of a file or as they are dealt."""
    if recipe.folds is None:
        if len(set(known.kinds.values())) <= 1 and set(known.groups) == set(known.groups.values()):
            return _dealt(known.names, recipe)
        return _balanced(known, recipe)
    folds = _from_file(recipe.folds)
    seen: dict[str, str] = {}
    for fold, members in folds.items():
        for name in members:
            group = known.groups.get(name)
            if group is not None and seen.setdefault(group, fold) != fold:
                told = f"parts the group {group!r}: it is in folds {seen[group]!r} and {fold!r}"
                raise InputError("E_NO_INPUT", told, recipe.folds)
    return folds


def _dealt(names: Sequence[str], recipe: Training) -> Mapping[str, list[str]]:
    """Folds named 0, 1, ... of nearly equal size, by the seed."""
    order = np.random.default_rng([recipe.seed, 5]).permutation(len(names))
    return {
        str(fold): [names[place] for place in order[fold :: recipe.fold_count]]
        for fold in range(recipe.fold_count)
    }


def _balanced(known: Roll, recipe: Training) -> Mapping[str, list[str]]:
    """Whole groups, the largest first, each to the fold that lacks its kinds most."""
    groups: dict[str, list[str]] = {}
    for name in known.names:
        groups.setdefault(known.groups[name], []).append(name)
    order = np.random.default_rng([recipe.seed, 5]).permutation(len(groups))
    dealt = sorted((list(groups.values())[place] for place in order), key=len, reverse=True)
    folds: list[list[str]] = [[] for _ in range(recipe.fold_count)]
    counts = [Counter[str]() for _ in folds]
    for members in dealt:
        kinds = Counter(known.kinds[name] for name in members)
        best = min(
            range(len(folds)),
            key=lambda n: (sum(counts[n][kind] * of for kind, of in kinds.items()), len(folds[n])),
        )
        folds[best] += members
        counts[best] += kinds
    return {str(fold): members for fold, members in enumerate(folds)}


def _from_file(path: Path) -> Mapping[str, list[str]]:
    try:
        folds = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError("E_NO_INPUT", f"is not a JSON file of folds ({error})", path) from error
    if not isinstance(folds, dict) or not all(isinstance(v, list) for v in folds.values()):
        raise InputError("E_NO_INPUT", "wants {fold: [study, ...]}", path)
    return {str(fold): [str(name) for name in members] for fold, members in folds.items()}
