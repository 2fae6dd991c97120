"""Draw the structure of every network, and write the sections of docs/models.md.

    python docs/draw_models.py [NAME ...]

The words are those of the networks' own docstrings. For the picture each network is built with its
defaults for 2D, exported on one image, and the operations of the export are gathered into the
modules they belong to. A box is a module: from left to right in the order of computing, from top to
bottom by resolution, as wide as it has channels; lines are the tensors that go from one to the
other.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from math import isqrt, log2
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch

mpl.use("svg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch, PathPatch
from matplotlib.path import Path as Curve

from medseg.models import MODELS, Network

PAGE = Path(__file__).parent / "models.md"
PICTURES = Path(__file__).parent / "pictures/models"
SECTIONS = "<!-- sections: made by docs/draw_models.py -->"
ELSEWHERE = {"smp", "hf_segformer"}
SIDE = 256
MOST_BOXES = 26
# No network has as many channels; points are as many.
MANY = 4096
# A stage of an encoder is one box, and so is a branch: what is built upon them tells more.
STAGE = re.compile(r"\b(encoder\.stages|branches)\.\d+$")
COLOURS = {"encoder": "#a6cee3", "module": "#fdbf6f", "decoder": "#b2df8a", "head": "#fb9a99"}


@dataclass
class Box:
    """A module: what it is called and gives, and which boxes feed it."""

    name: str
    kind: str
    channels: int = 0
    level: float = 0.0
    operations: int = 0
    sources: set[str] = field(default_factory=set)

    def shaped(self, node: Any) -> None:
        """Take up the channels and the resolution of what a node gives, if it is a map."""
        found = map_of(node)
        shape = getattr(node.meta.get("val"), "shape", ())
        if found is not None:
            self.channels, self.level = found
        elif len(shape) == 3:
            # Tokens (B, N, C), or points (B, C, N), of which there are many.
            self.channels = min(shape[1:])


def map_of(node: Any) -> tuple[int, float] | None:
    """Channels and level of a node that gives a map, channels second or last, or tokens of one."""
    shape = tuple(getattr(node.meta.get("val"), "shape", ()))
    side, channels = 0, 0
    if len(shape) >= 4 and len(set(shape[2:])) == 1:
        channels, side = shape[1], shape[2]
    elif len(shape) >= 4 and len(set(shape[1:-1])) == 1:
        *_, side, channels = shape
    elif len(shape) == 3 and isqrt(shape[1]) ** 2 == shape[1] and shape[2] < MANY:
        side, channels = isqrt(shape[1]), shape[2]
    if not side or side > SIDE or not log2(SIDE / side).is_integer():
        return None
    return channels, log2(SIDE / side)


def graph_of(network: Network) -> tuple[torch.nn.Module, Any]:
    """The module and the graph of its operations on one image."""
    torch.manual_seed(0)
    module = network(1, 3).eval()
    program = torch.export.export(module, (torch.zeros(1, 1, *(SIDE,) * network.spatial_dims),))
    return module, program.graph


def paths_of(node: Any) -> tuple[str, ...]:
    """The modules a node is computed in, the outermost first, without the network itself."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    names = [path for path, _ in stack if path]
    return tuple(name.replace("L['self'].", "").removeprefix("L['self']") for name in names)


def learning(module: torch.nn.Module, paths: tuple[str, ...]) -> tuple[str, ...]:
    """The modules that have something to learn: a pooling alone is no box."""
    return tuple(
        path for path in paths if any(True for _ in module.get_submodule(path).parameters())
    )


def split(module: torch.nn.Module, nodes: list[Any]) -> dict[Any, str]:
    """For every node the module that is its box: opened up while there are not too many."""
    stacks = {node: learning(module, paths_of(node)) for node in nodes}
    opened: set[str] = set()
    while True:
        boxes = {node: _shown(stack, opened) for node, stack in stacks.items()}
        sizes = Counter(name for name in boxes.values() if name)
        openable = {
            name: _opened_count(name, stacks, opened)
            for name in sizes
            if name not in opened
            and not STAGE.search(name)
            and (_levels(name, stacks, opened) > 1 or _changes(name, stacks, opened))
        }
        options = [
            (_levels(name, stacks, opened) + 3 * ("encoder" in name), sizes[name], name)
            for name, count in openable.items()
            if count and len(sizes) + count - 1 <= MOST_BOXES
        ]
        if not options:
            return boxes
        opened.add(max(options)[-1])


def _shown(stack: tuple[str, ...], opened: set[str]) -> str:
    for path in stack:
        if path not in opened:
            return path
    return ""


def _levels(name: str, stacks: dict[Any, tuple[str, ...]], opened: set[str]) -> int:
    """How many resolutions there are inside a module: the more, the more there is to see."""
    inside = [node for node, stack in stacks.items() if _shown(stack, opened) == name]
    return len({found[1] for node in inside if (found := map_of(node)) is not None})


def _changes(name: str, stacks: dict[Any, tuple[str, ...]], opened: set[str]) -> bool:
    """Whether the parts of a module differ in what they give: else it is one thing."""
    given: dict[str, tuple[int, ...]] = {}
    for node, stack in stacks.items():
        if _shown(stack, opened) == name:
            shape = tuple(getattr(node.meta.get("val"), "shape", ()))
            if len(shape) >= 3:
                given[_shown(stack, opened | {name})] = shape
    # A lone part is opened too: something is inside it, if not two things that differ.
    return len({shape for part, shape in given.items() if part}) > 1 or (
        len(given) == 1 and "" not in given
    )


def _opened_count(name: str, stacks: dict[Any, tuple[str, ...]], opened: set[str]) -> int:
    inside = {
        _shown(stack, opened | {name}) for stack in stacks.values() if _shown(stack, opened) == name
    }
    return len(inside - {""})


def boxes_of(network: Network) -> dict[str, Box]:
    """The boxes of a network by their names, in the order of computing."""
    module, graph = graph_of(network)
    nodes = [node for node in graph.nodes if node.op == "call_function"]
    owners = split(module, nodes)
    boxes: dict[str, Box] = {}
    # What is computed between modules (a concatenation, a resizing) passes on what fed it.
    passed: dict[Any, set[str]] = {
        node: {"image"} for node in graph.nodes if node.op == "placeholder" and _is_image(node)
    }
    for node in nodes:
        fed = set().union(*(passed.get(source, set()) for source in node.all_input_nodes), set())
        name = owners[node]
        if not name:
            passed[node] = fed
            # Tokens turned back into a map: only now the channels stand second.
            flat = len(getattr(node.meta.get("val"), "shape", ())) < 4
            turned = not flat and any(
                word in str(node.target) for word in ("permute", "movedim", "transpose")
            )
            if turned and len(fed) == 1 and (*fed,)[0] in boxes:
                boxes[(*fed,)[0]].shaped(node)
            continue
        if name not in boxes:
            level = max((boxes[source].level for source in fed & boxes.keys()), default=0.0)
            boxes[name] = Box(name, kind_of(module, name), level=level)
        box = boxes[name]
        box.sources |= fed - {name}
        box.operations += 1
        box.shaped(node)
        passed[node] = {name}
    return boxes


def _is_image(node: Any) -> bool:
    return not node.name.startswith(("p_", "b_", "c_"))


def kind_of(module: torch.nn.Module, name: str) -> str:
    """Which colour a module has: by the room its class lives in, then by its name."""
    inner = module.get_submodule(name)
    home = type(inner).__module__
    around = ".".join(name.split(".")[:-1])
    while around:
        home += " " + type(module.get_submodule(around)).__module__
        around = ".".join(around.split(".")[:-1])
    if "medseg.models.encoders" in home or name.startswith(
        ("encoder", "down", "input_block", "bottleneck")
    ):
        return "encoder"
    if "medseg.models.modules" in home:
        return "module"
    words = ("head", "output", "classifier", "predict", "logits")
    return "head" if any(word in name for word in words) else "decoder"


def short(name: str) -> str:
    """The last two words of a module's path."""
    return ".".join(name.split(".")[-2:])


def line(start: tuple[float, float], end: tuple[float, float], *, passes: bool) -> PathPatch:
    """From one box to another, in a bow where it passes others of the same resolution."""
    middle = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2 + (0.9 if passes else 0)
    path = Curve([start, middle, end], [Curve.MOVETO, Curve.CURVE3, Curve.CURVE3])
    return PathPatch(path, facecolor="none", edgecolor="#9a9a9a", linewidth=0.8, zorder=1)


def draw(network: Network) -> None:
    """One picture."""
    boxes = boxes_of(network)
    places = {name: place for place, name in enumerate(boxes)}
    places["image"] = -1
    levels = {name: box.level for name, box in boxes.items()} | {"image": 0.0}
    figure, axes = plt.subplots(figsize=(max(7, 0.62 * len(boxes) + 1), 3.4))
    for name, box in boxes.items():
        for source in box.sources:
            ends = [(places[one], -levels[one]) for one in (source, name)]
            between = [
                one
                for one, place in places.items()
                if places[source] < place < places[name] and levels[one] == levels[name]
            ]
            axes.add_patch(line(*ends, passes=bool(between) and levels[source] == levels[name]))
        width = 0.26 + 0.05 * log2(max(box.channels, 1))
        corner = (places[name] - width / 2, -box.level - 0.2)
        shape = FancyBboxPatch(
            corner,
            width,
            0.4,
            "round,pad=0.02",
            facecolor=COLOURS[box.kind],
            linewidth=0.5,
            zorder=2,
        )
        axes.add_patch(shape)
        axes.text(
            places[name],
            -box.level,
            f"{box.channels or ''}",
            ha="center",
            va="center",
            size=6,
            zorder=3,
        )
        axes.text(
            places[name] - 0.1,
            -box.level - 0.28,
            short(box.name),
            size=5,
            rotation=-35,
            va="top",
            ha="left",
        )
    axes.text(-1, 0, "image", ha="center", va="center", size=7)
    lowest = max(levels.values())
    axes.set(xlim=(-1.6, len(boxes) + 0.4), ylim=(-lowest - 1.6, 0.7), xticks=[])
    steps = sorted({round(level) for level in levels.values()})
    axes.set_yticks([-s for s in steps], [f"1/{2**s}" if s else "1" for s in steps], size=7)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    figure.tight_layout()
    path = PICTURES / f"{network.name}.svg"
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    print(f"{path}: {len(boxes)} boxes")


def section(name: str) -> str:
    """What the page says of a network."""
    cls = MODELS[name]
    text = inspect.cleandoc(cls.__doc__ or "")
    lines = [f"## {name}", "", text, "", f"For {cls.good_for}. {cls.paper}."]
    if name not in ELSEWHERE:
        lines += ["", f"![The structure of {name}](pictures/models/{name}.svg)"]
    return "\n".join(lines)


def main() -> None:
    """Draw what was asked for, or all; write the page."""
    mpl.rcParams["svg.hashsalt"] = "medseg"
    mpl.rcParams["font.family"] = "sans-serif"
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or sorted(set(MODELS) - ELSEWHERE):
        draw(MODELS[name](spatial_dims=2 if 2 in MODELS[name].dims else 3))
    before, _ = PAGE.read_text().split(SECTIONS)
    PAGE.write_text("\n\n".join([before + SECTIONS, *map(section, MODELS)]) + "\n")


if __name__ == "__main__":
    main()
