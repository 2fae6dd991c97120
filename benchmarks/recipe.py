"""Does one recipe train other networks than U-Nets? UCTransNet and DeepLab v3+, from three seeds.

    python benchmarks/recipe.py [--only NAME ...] [--dims 2 3] [--seeds 3] [--minutes N]
        [--work FOLDER] [--write]

Each is trained as benchmarks/zoo.py trains it, on hippocampus, folds 2 to 4 against fold 1, with
another seed of the weights, of the order of studies and of all that is random. The table has
every seed's mean Dice and their spread; a network has collapsed where a label's Dice is below
0.5. Finished trainings are not done again and a stopped one goes on. ``--write`` puts the table
into docs/models.md.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from common import REPOSITORY, markdown, write_between
from zoo import MODELS, Entry, work_through

COLLAPSED = 0.5
NAMES = ("dynunet", "uctransnet", "deeplab_v3plus")
PAGE = REPOSITORY / "docs/models.md"


def row(name: str, dims: int, found: list[dict[str, Any]]) -> list[Any]:
    """What the table says of one network in 2D or 3D: its seeds, and their spread."""
    each = [fmean(one["dice"].values()) for one in found]
    least = min(min(one["dice"].values()) for one in found)
    shown = ", ".join(f"{dice:.4f}" for dice in each)
    spread = f"{max(each) - min(each):.4f}"
    deviation = f"{stdev(each):.4f}" if len(each) > 1 else ""
    minutes, steps = found[0]["minutes"], fmean(one["iterations"] for one in found)
    collapsed = "yes" if least < COLLAPSED else "no"
    figures = [f"{fmean(each):.4f}", spread, deviation, f"{least:.3f}"]
    return [name, f"{dims}D", collapsed, shown, f"{minutes:g}", f"{steps:.0f}", *figures]


def main() -> None:
    """Train what was asked for, and tell all that is done after each."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--only", nargs="+", choices=sorted(MODELS), default=NAMES)
    asked.add_argument("--dims", nargs="+", type=int, choices=(2, 3), default=(3, 2))
    asked.add_argument("--seeds", type=int, default=3)
    asked.add_argument("--minutes", type=float, default=10.0)
    asked.add_argument("--work", type=Path, default=Path("out/recipe"))
    asked.add_argument("--write", action="store_true", help="into docs/models.md as well")
    options = asked.parse_args()
    rows = []
    for dims in options.dims:
        for name in options.only:
            entries = [Entry(name, dims, options.minutes, seed) for seed in range(options.seeds)]
            found = [work_through(entry, options.work) for entry in entries]
            rows.append(row(name, dims, found))
            print(*rows[-1], flush=True)
    head = ["network", "dims", "collapsed", "mean Dice of each seed", "minutes", "steps"]
    head += ["mean", "highest less lowest", "SD", "lowest of a label"]
    lines = markdown(head, rows, texts=4)
    (options.work / "results.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    if options.write:
        write_between(PAGE, "recipe: made by benchmarks/recipe.py", lines)


if __name__ == "__main__":
    main()
