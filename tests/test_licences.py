"""What medseg itself needs may be given away with it: no GPL, and each LGPL judged by name."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from email.message import Message
from importlib.metadata import PackageNotFoundError, distribution

import pytest
from conftest import REPOSITORY
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

JUDGED = {
    "connected-components-3d": "LGPL-3.0-or-later; imported as it is published, and replaceable",
}
REFUSED = re.compile(
    r"(?<!L)A?GPL|(?<!LESSER )\bGENERAL PUBLIC|AFFERO|SSPL|NON-?COMMERCIAL|CC-BY-NC"
)
LESSER = re.compile(r"LGPL|LESSER GENERAL PUBLIC")
# What GCC puts into the programs that it compiles is theirs.
RUNTIME = re.compile(r"GPL-3\.0(-or-later|-only)? WITH GCC-exception-3\.1", re.IGNORECASE)


def licence(metadata: Message | Mapping[str, str]) -> str:
    """What a package says of its licence, in its best words; nothing where it says none."""
    if said := metadata.get("License-Expression"):
        return str(said)
    classifiers = metadata.get_all("Classifier") if isinstance(metadata, Message) else []
    named = [c.rpartition(" :: ")[2] for c in classifiers or [] if c.startswith("License ::")]
    # A whole licence in this field names others' as well.
    lines = str(metadata.get("License") or "").strip().splitlines()
    return "; ".join([*named, *(line for line in lines if len(lines) == 1)])


def verdict(name: str, said: str) -> str:
    """Why a package may not be needed, or nothing."""
    plain = RUNTIME.sub("", said).upper()
    if REFUSED.search(plain):
        return f"{name} is {said}"
    if LESSER.search(plain) and name not in JUDGED:
        return f"{name} is {said}: judge it, and name it here"
    return "" if said else f"{name} does not say its licence"


def needed() -> dict[str, str]:
    """The licence of each installed package that the core needs, directly or not; no extras."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    waiting = [Requirement(one) for one in project["dependencies"]]
    found: dict[str, str] = {}
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name in found or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        try:
            package = distribution(wanted.name)
        except PackageNotFoundError:
            # Some wheels of torch name libraries of GPUs that are installed apart from them.
            assert name.startswith("nvidia-"), name
            continue
        found[name] = licence(package.metadata)
        waiting += map(Requirement, package.requires or [])
    return found


def test_nothing_that_the_core_needs_is_gpl() -> None:
    found = needed()
    assert {"torch", "monai", "numpy", "nibabel", "sympy"} <= found.keys()
    closed = {name for name in found if name.startswith("nvidia-")}
    assert [told for name in found.keys() - closed if (told := verdict(name, found[name]))] == []
    assert JUDGED.keys() <= found.keys(), "what is no longer needed need not be judged"


def test_all_that_the_core_needs_is_in_the_lock_that_is_audited() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
    pinned = {canonicalize_name(one.partition("==")[0]) for one in lines if "==" in one}
    parts = {name for name in needed() if name.startswith(("nvidia-", "triton", "cuda-"))}
    assert needed().keys() - pinned - parts - {"setuptools"} == set()


@pytest.mark.parametrize(
    "said",
    [
        *("GPL-3.0-only", "MIT AND GPL-2.0-or-later", "AGPL-3.0", "GNU Affero GPL v3"),
        *("GNU General Public License v3 (GPLv3)", "CC-BY-NC-4.0", "LGPL-3.0-or-later", ""),
        "GNU Lesser General Public License v3 (LGPLv3)",
    ],
)
def test_a_licence_that_is_not_wanted_would_be_seen(said: str) -> None:
    assert verdict("some-package", said)


@pytest.mark.parametrize(
    "said",
    [
        *("MIT", "BSD-3-Clause AND 0BSD", "Apache Software License", "PSF-2.0"),
        "BSD-3-Clause AND GPL-3.0-or-later WITH GCC-exception-3.1",
    ],
)
def test_a_licence_that_is_fine_passes(said: str) -> None:
    assert not verdict("some-package", said)
    assert not verdict("connected-components-3d", "LGPL-3.0-or-later")
