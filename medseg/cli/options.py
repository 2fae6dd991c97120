"""Options that several commands share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

    from medseg.pipeline import Site

Command = TypeVar("Command", bound="Callable[..., Any]")
ANY_PATH = click.Path(path_type=Path)


def pipeline_argument(command: Command) -> Command:
    """The pipeline: a YAML file or a model folder."""
    return click.argument("pipeline", type=ANY_PATH)(command)


def scans(command: Command) -> Command:
    """Where scans and references are, in place of what the pipeline says."""
    command = click.option(
        "--reference", type=ANY_PATH, help="Masks: a folder, a pattern with {study}, or a file."
    )(command)
    return click.option(
        "--input",
        "input_",
        metavar="PATH",
        type=ANY_PATH,
        help="Scans: a file, a folder, a pattern with {study} and {channel}, a manifest,"
        " a data set, or a tree of DICOM.",
    )(command)


def setting(command: Command) -> Command:
    """Options of the file, said otherwise for this run."""
    return click.option(
        "--set",
        "settings",
        metavar="KEY.PATH=VALUE",
        multiple=True,
        help="An option of the file said otherwise, such as inference.0.overlap=0.25;"
        " may be given several times.",
    )(command)


def place(command: Command) -> Command:
    """Where the work runs."""
    command = click.option(
        "--device", metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps; stronger than the site's."
    )(command)
    return click.option(
        "--site", type=ANY_PATH, help="A file of configs/: device, threads, memory."
    )(command)


def site_of(path: Path | None, device: str | None) -> Site:
    """The site of a file, on another device where one is named."""
    from medseg.pipeline import Site, load_site

    site = load_site(path) if path is not None else Site()
    if device is None:
        return site
    try:
        return replace(site, device=device)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="'--device'") from None
