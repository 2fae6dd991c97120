"""Every code that is raised has its cause and its cure, here and in docs/errors.md."""

from __future__ import annotations

import re

import pytest
from conftest import REPOSITORY

from medseg.codes import CODES

CODE = re.compile(r"""["'`]([EW]_[A-Z][A-Z0-9_]+)["'`]""")
RAISED = sorted(
    {
        (code, path.relative_to(REPOSITORY).as_posix())
        for path in (REPOSITORY / "medseg").rglob("*.py")
        if path.name != "codes.py"
        for code in CODE.findall(path.read_text("utf-8"))
    }
)
ROWS = re.findall(
    r"^\| `([EW]_[A-Z0-9_]+)` \| (.+) \| (.+) \|$",
    (REPOSITORY / "docs" / "errors.md").read_text("utf-8"),
    re.MULTILINE,
)


def test_the_search_finds_codes() -> None:
    assert len({code for code, _ in RAISED}) > 40


@pytest.mark.parametrize(("code", "path"), RAISED)
def test_a_code_that_is_raised_is_explained(code: str, path: str) -> None:
    assert code in CODES, path


def test_the_page_shows_the_table() -> None:
    assert {code: (cause, cure) for code, cause, cure in ROWS} == CODES
    assert len(ROWS) == len(CODES)


def test_every_code_has_its_cause_and_its_cure_in_sentences() -> None:
    for code, (cause, cure) in CODES.items():
        assert re.fullmatch(r"[EW]_[A-Z][A-Z0-9_]+", code)
        assert cause.endswith(".")
        assert cure.endswith(".")
        assert "|" not in cause + cure
