"""Hippocampus, case by case beside nnU-Net's published Dice, on folds 1 to 4 of its own split.

    python benchmarks/hippocampus.py [--fold 1 2 3 4] [--recipe FILE ...] [--minutes N]
        [--device NAME] [--work FOLDER] [--write]

A fold is trained on the other three that are here (nnU-Net also had fold 0: 208 cases and not
156), and tested on its 52 cases. Several recipes are trained side by side, each with its part of
the cores, and are averaged: together they have the budget that one would have alone. Killed and
begun again, it goes on; what is finished is not done again, and with more ``--minutes`` a training
goes on from where it ended. Into the work folder go results.md, cases.csv, cases.png (case against
case) and minutes.png (Dice against minutes), and with ``--write`` the results and
pictures into docs/benchmarks.md. The scans and nnU-Net's figures (an independent re-run, two
trainings) are found by MEDSEG_REAL_DATA (default ../shared/data).
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from common import DATA, REPOSITORY, markdown, measures, medseg, settings, write_between

from medseg.metrics.statistics import compare, describe
from medseg.pipeline import dump_pipeline, load_pipeline

LABELS = {"anterior": "ant", "posterior": "post"}
FOLDER = DATA / "hippocampus"
PAGE = REPOSITORY / "docs/benchmarks.md"
PICTURES = {"minutes": "Dice against minutes", "cases": "Dice case against case"}


@dataclass(frozen=True)
class Asked:
    """Recipes with their budget, and where their folds are kept."""

    recipes: tuple[Path, ...]
    minutes: float | None
    device: str | None
    work: Path
    seed: int | None = None

    @property
    def name(self) -> str:
        """Of the recipes together."""
        return "+".join(recipe.stem for recipe in self.recipes)

    @property
    def place(self) -> Path:
        """The folder of what they reach together."""
        return self.work / (self.name + self._seeded)

    def model(self, recipe: Path, fold: str) -> Path:
        """The folder of a training; a budget does not part it, as a training can go on."""
        return self.work / (recipe.stem + self._seeded) / f"fold_{fold}" / "model"

    @property
    def _seeded(self) -> str:
        return "" if self.seed is None else f"_seed{self.seed}"


@dataclass(frozen=True)
class Case:
    """Mean Dice over both labels of one case: medseg's, and nnU-Net's in either run."""

    name: str
    fold: str
    mine: float
    theirs: tuple[float, ...]
    by_label: Mapping[str, float]


def work_through(asked: Asked, fold: str) -> list[Case]:
    """Train on the other folds, segment this one, and read what was measured."""
    place = asked.place / f"fold_{fold}"
    place.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as together:
        models = list(together.map(lambda recipe: train(asked, recipe, fold), asked.recipes))
    model = models[0] if len(models) == 1 else averaged(models, place / "pipeline.yaml")
    held_out: list[str | Path] = [
        "--input",
        models[0] / "held_out.csv",
        "--output",
        place / "masks",
    ]
    device = ["--device", asked.device] if asked.device else []
    medseg("run", model, *held_out, *device, log=place / "log.txt")
    found, known = measures(place / "masks"), published(fold)
    names = sorted(set.intersection(*(set(values) for values in found.values())))
    return [
        Case(
            name,
            fold,
            fmean(found[label][name] for label in LABELS),
            tuple(fmean(run[name].values()) for run in known.values()),
            {label: found[label][name] for label in LABELS},
        )
        for name in names
    ]


def train(asked: Asked, recipe: Path, fold: str) -> Path:
    """The model folder; a finished training is taken up and ends at once."""
    model = asked.model(recipe, fold)
    model.parent.mkdir(parents=True, exist_ok=True)
    threads = max(1, len(os.sched_getaffinity(0)) // len(asked.recipes))
    site = model.parent / "site.yaml"
    site.write_text(f"device: {asked.device or 'auto'}\nthreads: {threads}\n")
    budget = settings(training__max_minutes=asked.minutes, training__seed=asked.seed)
    split: list[str | Path] = ["--folds", FOLDER / "folds.json", "--fold", fold]
    words: list[str | Path] = [
        "train",
        recipe,
        "--output",
        model,
        "--input",
        FOLDER,
        *split,
        *budget,
    ]
    medseg(*words, "--site", site, log=model.parent / "log.txt")
    return model


def averaged(models: Sequence[Path], path: Path) -> Path:
    """The pipeline of the first with the networks of all; they see a scan in one form."""
    pipelines = [load_pipeline(model) for model in models]
    first = pipelines[0]
    if any(one.preprocess != first.preprocess for one in pipelines):
        raise ValueError("the recipes do not prepare scans alike, so they have no average")
    networks = tuple(step for one in pipelines for step in one.inference)
    whole = replace(first, name="averaged", inference=networks, training=None)
    path.write_text(dump_pipeline(whole))
    return path


def published(fold: str) -> dict[str, dict[str, dict[str, float]]]:
    """nnU-Net's Dice by run, case and label."""
    runs: dict[str, dict[str, dict[str, float]]] = {}
    with (FOLDER / "nnunet_percase.csv").open() as file:
        for row in csv.DictReader(file):
            if row["fold"] == fold:
                dice = {label: float(row[f"dice_{short}"]) for label, short in LABELS.items()}
                runs.setdefault(row["run"], {})[row["case"]] = dice
    return runs


def results(cases: Sequence[Case], asked: Asked) -> list[str]:
    """The table of folds beside nnU-Net's, with its paired test."""
    folds = sorted({case.fold for case in cases})
    parts = [(fold, [case for case in cases if case.fold == fold]) for fold in folds]
    if len(folds) > 1:
        parts.append(("all", list(cases)))
    rows = []
    for name, part in parts:
        mine = [case.mine for case in part]
        theirs = [case.theirs[0] for case in part]
        apart, own = compare(mine, theirs), describe(mine)
        runs = " and ".join(
            f"{fmean(run):.4f}" for run in zip(*(c.theirs for c in part), strict=True)
        )
        labels = [fmean(case.by_label[label] for case in part) for label in LABELS]
        interval = f"{own.low:.4f} to {own.high:.4f}" if own.low is not None else ""
        difference = f"{apart.mean:+.4f}" if apart.mean is not None else ""
        around = f"{apart.low:+.4f} to {apart.high:+.4f}" if apart.low is not None else ""
        p = "" if apart.p is None else f"{apart.p:.2g}"
        figures = [f"{own.mean:.4f}", interval, runs, difference, around, p]
        shown = _minutes(asked, folds if name == "all" else [name])
        rows.append([name, len(part), shown, *(f"{one:.4f}" for one in labels), *figures])
    head = ["fold", "cases", "minutes", *LABELS, "mean Dice", "95 % of the mean"]
    head += ["nnU-Net's two runs", "difference", "95 % of it", "Wilcoxon p"]
    recipes = " and ".join(recipe.name for recipe in asked.recipes)
    told = (
        f"`{recipes}`. The difference is medseg's Dice less that of nnU-Net's first run, paired by"
        " case; its interval is by bootstrap over cases."
    )
    return [told, "", *markdown(head, rows), *_on_the_way(asked, folds)]


def _on_the_way(asked: Asked, folds: Sequence[str]) -> list[str]:
    """Dice against minutes, recipe by recipe; of the first fold, in words."""
    lines = []
    for recipe in asked.recipes:
        points = curve(asked.model(recipe, folds[0]))
        if points:
            said = ", ".join(f"{dice:.3f} after {minutes:.0f}" for minutes, dice in points)
            lines += ["", f"`{recipe.name}` on the way, fold {folds[0]}: {said} minutes."]
    return lines


def _minutes(asked: Asked, folds: Sequence[str]) -> str:
    """Of a fold on the whole machine; recipes that share it end together."""
    models = [asked.model(recipe, fold) for fold in folds for recipe in asked.recipes]
    cards = [json.loads((model / "card.json").read_text()) for model in models]
    return f"{fmean(card['minutes'] for card in cards):.0f}"


def curve(model: Path) -> list[tuple[float, float]]:
    """Minutes and mean Dice of the validations of a training, as its history has them."""
    points = []
    with (model / "history.csv").open() as file:
        for row in csv.DictReader(file):
            dice = [row.get(f"dice_{label}") or "" for label in LABELS]
            if all(dice):
                points.append((float(row["minutes"]), fmean(map(float, dice))))
    return points


def write_cases(cases: Sequence[Case], path: Path) -> None:
    """Every case in a line of CSV."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["fold", "case", *LABELS, "medseg", "nnunet_first", "nnunet_second"])
        for case in cases:
            table.writerow([case.fold, case.name, *case.by_label.values(), case.mine, *case.theirs])


def draw_cases(cases: Sequence[Case], path: Path) -> None:
    """Case against case: nnU-Net's first run along, medseg upwards."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    for fold in sorted({case.fold for case in cases}):
        part = [case for case in cases if case.fold == fold]
        theirs, mine = [c.theirs[0] for c in part], [c.mine for c in part]
        axes.scatter(theirs, mine, s=14, alpha=0.7, label=f"fold {fold}")
    low = min(min(case.mine, *case.theirs) for case in cases) - 0.01
    axes.plot([low, 1], [low, 1], color="0.5", linewidth=0.8)
    high = max(max(case.mine, *case.theirs) for case in cases) + 0.01
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.set(xlabel="Dice of nnU-Net, 1000 epochs", ylabel="Dice of medseg")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def draw_minutes(asked: Asked, cases: Sequence[Case], path: Path) -> None:
    """Dice against minutes: validations on the way, and all held-out cases at the end."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for fold in sorted({case.fold for case in cases}):
        for recipe in asked.recipes:
            points = curve(asked.model(recipe, fold))
            if points:
                said = f"{recipe.stem}, fold {fold}, on the way"
                axes.plot(*zip(*points, strict=True), marker=".", label=said)
        part = [case for case in cases if case.fold == fold]
        end = float(_minutes(asked, [fold])), fmean(case.mine for case in part)
        (line,) = axes.plot(*end, marker="*", markersize=12, linestyle="none",
                            label=f"fold {fold}, its {len(part)} cases")  # fmt: skip
        theirs = fmean(case.theirs[0] for case in part)
        axes.axhline(theirs, color=line.get_color(), linewidth=0.8, linestyle=":")
    axes.set(xlabel="minutes of training", ylabel="mean Dice (dotted: nnU-Net's)")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    """Do what was asked, fold after fold, and write what is known after each."""
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--fold", nargs="+", default=["1", "2", "3", "4"], choices=list("1234"))
    default = [REPOSITORY / "pipelines/hippocampus.yaml"]
    words.add_argument("--recipe", nargs="+", type=Path, default=default)
    words.add_argument("--minutes", type=float, help="another budget a fold than the recipe's")
    words.add_argument("--device")
    words.add_argument("--seed", type=int, help="another seed than the recipe's")
    words.add_argument("--work", type=Path, default=Path("out/hippocampus"))
    words.add_argument("--write", action="store_true", help="into docs/benchmarks.md as well")
    given = words.parse_args()
    asked = Asked(tuple(given.recipe), given.minutes, given.device, given.work, given.seed)
    cases: list[Case] = []
    for fold in given.fold:
        cases += work_through(asked, fold)
        lines = results(cases, asked)
        (asked.place / "results.md").write_text("\n".join(lines) + "\n")
        write_cases(cases, asked.place / "cases.csv")
        draw_cases(cases, asked.place / "cases.png")
        draw_minutes(asked, cases, asked.place / "minutes.png")
        print("\n".join(lines), flush=True)
    if given.write:
        pictures = []
        for name in ("minutes", "cases"):
            picture = f"pictures/{asked.name.replace('+', '_and_')}_{name}.png"
            shutil.copy(asked.place / f"{name}.png", PAGE.parent / picture)
            pictures += ["", f"![{PICTURES[name]}]({picture})"]
        write_between(PAGE, f"hippocampus {asked.name}", lines + pictures)


if __name__ == "__main__":
    main()
