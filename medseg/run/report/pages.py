"""Pages by Jinja (extra ``report``): everything escaped, nothing fetched, scripts by their hash."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

_TEMPLATES = Path(__file__).parent / "templates"


def page(template: str, viewer: bool, **said: Any) -> bytes:
    """A page of a template. ``viewer`` lets the viewer's own file in as well."""
    style, scripts = part("report.css"), [part("report.js")]
    scripts += [part("viewer.js")] if viewer else []
    text = (
        environment()
        .get_template(template)
        .render(
            style=_markup(style),
            scripts=[_markup(script) for script in scripts],
            policy=_policy(style, scripts, viewer),
            **said,
        )
    )
    return text.encode("utf-8", "backslashreplace")


@cache
def environment() -> Environment:
    """Jinja with escaping on, and an error for what a template asks for and is not given."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def part(name: str) -> str:
    """The style or a script, as it is put into every page."""
    return (_TEMPLATES / name).read_text("utf-8").strip()


def _policy(style: str, scripts: Sequence[str], viewer: bool) -> str:
    """What a browser may do with a page: show what is in it, and nothing else."""
    known = [*map(_hash, scripts), *(["'self'"] if viewer else [])]
    rules = [
        "default-src 'none'",
        f"style-src {_hash(style)}",
        f"script-src {' '.join(known)}",
        "img-src data: blob:" if viewer else "img-src data:",
        *(["connect-src data: blob:"] if viewer else []),
        "base-uri 'none'",
        "form-action 'none'",
    ]
    return "; ".join(rules)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _markup(text: str) -> Any:
    from markupsafe import Markup

    return Markup(text)
