"""The house: imports lead down, rooms of one floor are strangers, heavy packages wait."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "medseg"
FLOORS = (
    ("errors", "codes", "step", "compiled"),
    ("image",),
    ("io", "preprocess", "postprocess", "metrics", "models", "execution"),
    ("inference", "training"),
    ("pipeline",),
    ("run",),
    ("cli",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
HEAVY = {"torch", "monai", "scipy", "skimage", "cc3d", "nibabel", "SimpleITK", "safetensors"}
HEAVY |= {"pydicom", "highdicom"}
MAY_BE_HEAVY = {
    "models/device.py",
    "models/layers.py",
    *(f"inference/{name}.py" for name in ("decision", "engine", "engines", "exporting", "windows")),
    *(f"inference/{name}.py" for name in ("gaussian_sums", "lattice", "mean_field")),
    *(f"inference/{name}.py" for name in ("by_torch", "foresight", "ring", "transfer")),
    "inference/probabilities.py",
    *(
        f"training/{name}.py"
        for name in ("learner", "loop", "objective", "sampling", "keeping", "team", "warping")
    ),
    "training/weighing.py",
    "run/cache.py",
    "run/sizing.py",
    "run/train.py",
}
# What a network builds is torch through and through; its options are not.
HEAVY_FOLDERS = ("models/nets/", "models/encoders/", "models/modules/", "models/importers/")


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def room_of(module: str) -> str:
    """The room a dotted name leads to: ``medseg.io.scan`` to ``io``."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imported(tree: ast.AST) -> Iterator[str]:
    """Every dotted name that is imported anywhere in a module, inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""
            if node.module == "medseg":
                yield from (f"medseg.{alias.name}" for alias in node.names)


def climbs(room: str, source: str) -> list[str]:
    """Imports of a module in ``room`` that lead up, or to another room of its floor."""
    wrong = []
    for name in imported(ast.parse(source)):
        if not name.startswith("medseg."):
            continue
        other = room_of(name)
        if other in FLOOR and other != room and FLOOR[other] >= FLOOR[room] > 0:
            wrong.append(f"{room} -> {name}")
    return wrong


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_lead_down(path: Path) -> None:
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if room in FLOOR:
        assert not climbs(room, path.read_text())


def test_every_room_stands_on_a_floor() -> None:
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in modules()}
    assert rooms - set(FLOOR) == {"__init__", "__main__"}


@pytest.mark.parametrize(
    ("room", "line"),
    [
        ("image", "from medseg.io import read_scan"),
        ("io", "from medseg.preprocess import PREPROCESS"),
        ("inference", "import medseg.training.loop"),
        ("pipeline", "def f():\n    from medseg.run.predict import predict"),
        ("run", "if TYPE_CHECKING:\n    from medseg.cli import main"),
    ],
)
def test_a_climb_is_seen_wherever_it_hides(room: str, line: str) -> None:
    assert climbs(room, line)


def test_a_way_down_is_no_climb() -> None:
    assert not climbs("run", "from medseg.pipeline import Pipeline\nimport medseg.image.grid")


def for_types(tree: ast.Module) -> set[ast.AST]:
    """What is imported for annotations alone, and never when the program runs."""
    guards = [
        node
        for node in tree.body
        if isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    ]
    return {inner for guard in guards for inner in ast.walk(guard)}


def used(path: Path, known: Iterable[str]) -> set[str]:
    """The modules that a module imports to run; of a package, the very module that is meant."""
    found, tree = set(), ast.parse(path.read_text())
    skipped = for_types(tree)
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & set(known)
            found |= inner or {node.module or ""}
    return (found & set(known)) - {"medseg"}


def test_no_two_modules_import_each_other() -> None:
    known = {}
    for path in modules():
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        known[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    edges = {name: used(path, known) for name, path in known.items()}
    done: set[str] = set()

    def walk(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join((*way[way.index(name) :], name))
        if name not in done:
            for other in sorted(edges[name] - {name}):
                walk(other, (*way, name))
            done.add(name)

    for name in sorted(set(known) - {"medseg"}):
        walk(name, ())


def top_level(tree: ast.Module) -> Iterator[str]:
    """Packages a module imports as soon as it is itself imported."""
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from (name.split(".")[0] for name in imported(node))


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_packages_wait_until_they_are_needed(path: Path) -> None:
    name = str(path.relative_to(PACKAGE))
    if name not in MAY_BE_HEAVY and not name.startswith(HEAVY_FOLDERS):
        assert not HEAVY & set(top_level(ast.parse(path.read_text())))


def test_only_the_command_line_prints() -> None:
    printing = [
        str(path.relative_to(PACKAGE))
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("print", "exit")
    ]
    assert [name for name in printing if not name.startswith("cli")] == []


def test_what_a_room_offers_is_not_hidden_by_a_module_of_its_name() -> None:
    """A lazily found name would turn into the module as soon as that is imported."""
    for package in ("medseg", "medseg.io"):
        offered = set(import_module(package).__all__)
        folder = PACKAGE.parent / package.replace(".", "/")
        assert not offered & {path.stem for path in folder.glob("*.py")}
        assert all(hasattr(import_module(package), name) for name in offered)
