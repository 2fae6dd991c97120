"""Train every network on the hippocampus by one recipe and budget; the table of docs/models.md.

    python benchmarks/zoo.py [--only NAME ...] [--dims 2 3] [--minutes N] [--work FOLDER]

Folds 2 to 4 train, fold 1 tests. A network is its pipeline ``pipelines/hippocampus.yaml`` (3D) or
``hippocampus_slices.yaml`` (2D, slices along all three axes) with another ``model``; where a
paper's widths would not train in the time, smaller ones stand below and in the table. Finished
trainings are not done again and a stopped one goes on. The scans are found by MEDSEG_REAL_DATA
(default ../shared/data).
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from common import DATA, REPOSITORY, measures, medseg
from torch.utils.flop_counter import FlopCounterMode

from medseg.models import MODELS, Network
from medseg.pipeline import dump_pipeline, load_pipeline
from medseg.run.validation import trainable
from medseg.training.growth import Growth

PAGE = REPOSITORY / "docs/models.md"
BEGIN, END = "<!-- zoo: made by benchmarks/zoo.py -->", "<!-- zoo ends -->"
PIPELINES = {2: "hippocampus_slices.yaml", 3: "hippocampus.yaml"}

# A hippocampus is some 20 voxels wide: the first halving is left out.
FINE = (1, 2, 2, 2, 2)
RESNET: dict[int, dict[str, Any]] = {
    2: {"depth": 18, "base": 32, "strides": FINE},
    3: {"base": 16, "strides": FINE},
}
ON_RESNET = ("fcn_resnet", "deeplab_v3", "deeplab_v3plus", "pspnet", "psanet", "sfnet")
# Options that differ from a network's own, by name and dimensions: smaller widths, and less of the
# image's resolution given away at once, as a hippocampus is some 20 voxels wide.
SMALLER: dict[str, dict[int, dict[str, Any]]] = {
    "dynunet": {
        2: {"widths": (32, 64, 128, 256), "norm": "batch", "deep_supervision": 1},
        3: {"widths": (24, 48, 96, 192), "norm": "batch", "deep_supervision": 1},
    },
    "unet": {
        2: {"widths": (32, 64, 128, 256), "deep_supervision": 1},
        3: {"widths": (24, 48, 96, 192), "norm": "batch", "deep_supervision": 1},
    },
    "uctransnet": {
        2: {"widths": (32, 64, 128, 256), "image_size": 56},
        3: {"widths": (16, 32, 64, 128), "norm": "batch", "image_size": (40, 56, 40)},
    },
    "segformer": {2: {"strides": (2, 2, 2, 2)}, 3: {"strides": (2, 2, 2, 2)}},
    "setr": {
        2: {"size": "small", "patch": 8, "image_size": 56, "head_width": 128},
        3: {"size": "small", "patch": 8, "image_size": (40, 56, 40), "head_width": 64},
    },
    "segresnet": {3: {"width": 8}},
    "swin_unetr": {2: {"width": 24}, 3: {"width": 12, "window": 4}},
    "unetr": {
        2: {"hidden_width": 192, "attention_heads": 6},
        3: {"hidden_width": 192, "attention_heads": 6},
    },
    "attention_unet": {2: {"widths": (32, 64, 128, 256)}, 3: {"widths": (16, 32, 64, 128)}},
    "mednext": {3: {"width": 8}},
    "pointrend": {
        2: {"depth": 18, "base": 32, "pyramid_channels": 64, "head_channels": 64},
        3: {"depth": 18, "base": 16, "pyramid_channels": 32, "head_channels": 32},
    },
    "enet": {2: {"strides": (1, 2, 2)}},
    "bisenetv2": {
        2: {"strides": FINE},
        3: {"width": 0.35, "strides": FINE},
    },
    "stdc": {2: {"strides": FINE}, 3: {"width": 0.5, "strides": FINE}},
    "fcn": {
        2: {"base": 32, "hidden_channels": 256, "kernel": 3, "norm": "batch", "strides": FINE},
        3: {"base": 8, "hidden_channels": 64, "norm": "batch", "strides": FINE},
    },
    "deeplab_v1": {
        2: {"base": 32, "hidden_channels": 256, "norm": "batch", "strides": (2, 2, 1, 1, 1)},
        3: {
            "base": 16,
            "hidden_channels": 128,
            "norm": "batch",
            "strides": (2, 2, 1, 1, 1),
            "dropout": 0.1,
        },
    },
    "dense_aspp": {
        2: {"growth": 16, "blocks": (2, 4, 6, 4), "strides": FINE},
        3: {"growth": 8, "blocks": (2, 4, 6, 4), "strides": FINE},
    },
    "modular": {
        2: {"base": 32, "strides": FINE},
        3: {"base": 16, "width": 32, "strides": FINE},
    },
    "deeplab_v2": RESNET,
    "gcn": RESNET,
    **dict.fromkeys(ON_RESNET, RESNET),
}
# What a network needs of its training: growing wants short epochs and something to be judged by.
TRAINING: dict[str, dict[str, Any]] = {
    "neat": {
        "batches": 20,
        "validate": 6,
        "growth": Growth(every=2, probe=2, plateau=None, refusals=6),
    },
    # The paper's weights, 1 / ln(1.02 + share), for labels that are 2 % of a patch each: without
    # them one of the two is never found.
    "enet": {"label_weights": {"anterior": 17.0, "posterior": 17.0}},
    # Depthwise convolutions in 3D are half as fast in bfloat16 as in float32 on this CPU.
    "mednext": {"precision": "float32"},
}
# Not trained here: weights of other libraries, to be fetched.
ELSEWHERE = {"smp", "hf_segformer"}


@dataclass(frozen=True)
class Entry:
    """A network in 2D or 3D, and its budget."""

    name: str
    dims: int
    minutes: float
    seed: int = 0

    @property
    def options(self) -> dict[str, Any]:
        """What is not the network's own default."""
        return SMALLER.get(self.name, {}).get(self.dims, {})

    @property
    def folder(self) -> str:
        """Where its training is kept."""
        seeded = f"_seed{self.seed}" if self.seed else ""
        return f"{self.name}_{self.dims}d_{self.minutes:g}min{seeded}"

    def network(self) -> Network:
        """Its options as medseg has them."""
        network: Network = MODELS[self.name](spatial_dims=self.dims, **self.options)
        return network


def work_through(entry: Entry, work: Path) -> dict[str, Any]:
    """Train and test one network; what the table says of it."""
    place = work / entry.folder
    result = place / "result.json"
    if result.exists():
        known: dict[str, Any] = json.loads(result.read_text())
        return known
    place.mkdir(parents=True, exist_ok=True)
    write_pipeline(entry, place / "pipeline.yaml")
    folds = DATA / "hippocampus/folds.json"
    where = ["--input", f"{DATA / 'hippocampus'}", "--folds", f"{folds}", "--fold", "1"]
    model, log = place / "model", place / "log.txt"
    memory = medseg("train", place / "pipeline.yaml", "--output", model, *where, log=log)
    held_out = ["--input", f"{model}/held_out.csv", "--output", f"{place}/masks"]
    # Equal masks, but for rounding, in less time; in 2D, of many slices, no mirror images.
    faster = ["--set", "inference.0.engine=auto"]
    faster += ["--set", "inference.0.mirror=[]"] if entry.dims == 2 else []
    medseg("run", model, *held_out, *faster, log=log)
    card = json.loads((model / "card.json").read_text())
    parameters, gmacs = counted(model)
    found = {
        "name": entry.name,
        "dims": entry.dims,
        "minutes": entry.minutes,
        "options": entry.options,
        "dice": {label: fmean(one.values()) for label, one in measures(place / "masks").items()},
        "parameters": parameters,
        "gmacs": gmacs,
        "iterations": card["iterations"],
        "seconds_an_iteration": card["minutes"] * 60 / card["iterations"],
        "memory_gib": memory,
        "cores": torch.get_num_threads(),
    }
    result.write_text(json.dumps(found, indent=1))
    return found


def write_pipeline(entry: Entry, path: Path) -> None:
    """The recipe of its dimensions with this network and budget."""
    pipeline = load_pipeline(REPOSITORY / "pipelines" / PIPELINES[entry.dims])
    recipe, step = trainable(pipeline)
    special = {"validate": 0, **TRAINING.get(entry.name, {})}
    training = replace(recipe, max_minutes=entry.minutes, seed=entry.seed, **special)
    asked = replace(step, model=entry.network())
    whole = replace(pipeline, name=entry.folder, inference=(asked,), training=training)
    path.write_text(dump_pipeline(whole))


def counted(model: Path) -> tuple[int, float]:
    """Parameters, and multiplications of one window in thousands of millions, as it was trained.

    A growing network is counted as large as it became.
    """
    pipeline = load_pipeline(model)
    _, step = trainable(pipeline)
    module = step.model(1, pipeline.labels.channels).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        module(torch.zeros(1, 1, *step.window))
    return sum(p.numel() for p in module.parameters()), counter.get_total_flops() / 2e9


def table(results: list[dict[str, Any]]) -> list[str]:
    """Rows of Markdown, the best first within dimensions and budget."""
    rows = [
        "| network | dims | minutes | cores | anterior | posterior | mean Dice"
        " | parameters, million | GMAC a window | iterations | s an iteration | memory, GiB"
        " | options |",
        "|---|---|" + "---:|" * 10 + "---|",
    ]
    for one in sorted(results, key=lambda r: (r["dims"], r["minutes"], -fmean(r["dice"].values()))):
        said = ", ".join(f"{key} {value}" for key, value in one["options"].items())
        rows.append(
            f"| {one['name']} | {one['dims']}D | {one['minutes']:g} | {one.get('cores', 2)}"
            f" | {one['dice']['anterior']:.3f} | {one['dice']['posterior']:.3f}"
            f" | {fmean(one['dice'].values()):.3f}"
            f" | {one['parameters'] / 1e6:.2f} | {one['gmacs']:.2f} | {one['iterations']}"
            f" | {one['seconds_an_iteration']:.2f} | {one['memory_gib']:.1f} | {said} |"
        )
    return rows


def grown(work: Path) -> list[str]:
    """How the growing networks grew, step by step."""
    rows = []
    for path in sorted(work.glob("neat_*/model/growth.csv")):
        folder = path.parents[1].name
        rows += ["", f"How `{folder}` grew, Dice being the mean over the scans that validate:", ""]
        rows += [
            "| epoch | step | where | parameters | GMAC | Dice before | Dice after | kept |",
            "|---:|---|---|---:|---:|---:|---:|---|",
        ]
        for step in csv.DictReader(path.open()):
            before, after = (float(step[f"dice_{when}"]) for when in ("before", "after"))
            rows.append(
                f"| {step['epoch']} | {step['operator']} | {step['where']} | {step['parameters']}"
                f" | {float(step['gmacs']):.2f} | {before:.3f} | {after:.3f}"
                f" | {'yes' if step['accepted'] == 'True' else 'no'} |"
            )
    return rows


def main() -> None:
    """Do what was asked, and write all that is done into the page."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = sorted(set(MODELS) - ELSEWHERE)
    asked.add_argument("--only", nargs="+", choices=names, default=names)
    asked.add_argument("--dims", nargs="+", type=int, choices=(2, 3), default=(3, 2))
    asked.add_argument("--minutes", type=float, default=5.0)
    asked.add_argument("--work", type=Path, default=Path("out/zoo"))
    options = asked.parse_args()
    for name in options.only:
        for dims in options.dims:
            if dims not in MODELS[name].dims:
                continue
            entry = Entry(name, dims, options.minutes)
            try:
                found = work_through(entry, options.work)
            except RuntimeError as error:
                print(f"{entry.folder}: {error}", flush=True)
                continue
            print(f"{entry.folder}: {found['dice']}", flush=True)
    results = [json.loads(p.read_text()) for p in sorted(options.work.glob("*/result.json"))]
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    made = [BEGIN, "", *table(results), *grown(options.work), "", END]
    PAGE.write_text(before + "\n".join(made) + after)


if __name__ == "__main__":
    main()
