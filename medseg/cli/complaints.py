"""Errors as a person reads them: where, what was found and wanted, and the line itself."""

from __future__ import annotations

from pathlib import Path

import click

from medseg.errors import Complaint, MedsegError, PipelineError


def tell(error: MedsegError) -> None:
    """Print an error to stderr; a pipeline's complaints one after the other."""
    complaints = error.complaints if isinstance(error, PipelineError) else ()
    for complaint in complaints:
        for line in lines_of(complaint):
            click.echo(line, err=True)
    if complaints:
        count = f"{len(complaints)} mistakes" if len(complaints) > 1 else "one mistake"
        click.echo(f"{error.code}: {count}; nothing was done", err=True)
    else:
        click.echo(shown(str(error)), err=True)


def lines_of(complaint: Complaint) -> list[str]:
    """``file:line:column: key: message``, the line of the file, and a caret under the column."""
    if not complaint.source.strip():
        return [shown(str(complaint))]
    # Tabs stay as they are, so that the caret stands under its column.
    before = complaint.source[: complaint.column - 1]
    under = "".join("\t" if c == "\t" else " " * _width(c) for c in before)
    return [shown(str(complaint)), f"    {shown(complaint.source)}", f"    {under}^"]


def shown(text: str) -> str:
    """The text without what could steer a terminal; paths start where one stands."""
    text = text.replace(f"{Path.cwd()}/", "")
    return "".join(c if c.isprintable() or c in "\t\n" else f"\\x{ord(c):02x}" for c in text)


def _width(character: str) -> int:
    from unicodedata import combining, east_asian_width

    if combining(character):
        return 0
    return 2 if east_asian_width(character) in "WF" else len(shown(character))
