"""Which studies train and which are held out."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medseg.errors import InputError
from medseg.training import Training


@dataclass(frozen=True)
class Split:
    """Names of studies: what is trained on, what is held out, and what of it validates."""

    trained_on: tuple[str, ...]
    held_out: tuple[str, ...] = ()
    validated: tuple[str, ...] = ()


def split(names: Sequence[str], recipe: Training, fold: str | None) -> Split:
    """Hold ``fold`` out; without one, train on everything.

    Raises InputError E_NO_INPUT where the fold is not there or leaves nothing to train on.
    """
    if fold is None:
        return Split(tuple(names))
    folds = _from_file(recipe.folds) if recipe.folds else _dealt(names, recipe)
    if fold not in folds:
        raise InputError(
            "E_NO_INPUT", f"there is no fold {fold!r}; there are {', '.join(folds)}", recipe.folds
        )
    known = {name for members in folds.values() for name in members}
    held = tuple(name for name in names if name in set(folds[fold]))
    rest = tuple(name for name in names if name in known and name not in held)
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


def _dealt(names: Sequence[str], recipe: Training) -> Mapping[str, list[str]]:
    """Folds named 0, 1, ... of nearly equal size, by the seed."""
    order = np.random.default_rng([recipe.seed, 5]).permutation(len(names))
    return {
        str(fold): [names[place] for place in order[fold :: recipe.fold_count]]
        for fold in range(recipe.fold_count)
    }


def _from_file(path: Path) -> Mapping[str, list[str]]:
    try:
        folds = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError("E_NO_INPUT", f"is not a JSON file of folds ({error})", path) from error
    if not isinstance(folds, dict) or not all(isinstance(v, list) for v in folds.values()):
        raise InputError("E_NO_INPUT", "wants {fold: [study, ...]}", path)
    return {str(fold): [str(name) for name in members] for fold, members in folds.items()}
