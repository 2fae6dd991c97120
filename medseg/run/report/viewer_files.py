"""Brings NiiVue, the viewer of reports, into the package: pinned by version and digest.

Only the standard library is imported, so that the build can load this file by its path. Nothing
here runs unless a build or ``medseg doctor --add-viewer`` asks for it.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

PACKAGE, VERSION = "@niivue/niivue", "0.69.0"
_SHA512 = "YMjQvJgD1W2b7DuoxkwlC4VxbrgIePRJ5qyQzXKxi2v2MBVg285P/CIQyg46oDDGDIcaNlbd+MhtO/edMbXJkA=="
_INSIDE = "package/dist/niivue.umd.js"
_SECONDS = 120
FOLDER = Path(__file__).parent / "niivue"
SCRIPT = "niivue.js"
LICENCE = "LICENSE.niivue.txt"


class ViewerMissingError(Exception):
    """The viewer could not be had, and why."""


def viewer_script(folder: Path = FOLDER) -> Path | None:
    """The viewer's script, or None where it was never brought in."""
    path = folder / SCRIPT
    return path if path.is_file() else None


def fetch_viewer(folder: Path = FOLDER) -> Path:
    """Ask npm for the package, hold it against its digest, keep its one script.

    Raises ViewerMissingError where npm is not there, does not give it, or gives another.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise ViewerMissingError("npm is not installed")
    with tempfile.TemporaryDirectory() as place:
        content = _packed(npm, Path(place))
    if base64.b64encode(hashlib.sha512(content).digest()).decode() != _SHA512:
        raise ViewerMissingError(f"npm gave another {PACKAGE} {VERSION} than the one pinned")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        member = archive.extractfile(_INSIDE)
        assert member is not None  # its digest says that it is there
        script = member.read()
    target = folder / SCRIPT
    partial = folder / f".{SCRIPT}.partial"
    partial.write_bytes(script)
    partial.replace(target)
    return target


def _packed(npm: str, place: Path) -> bytes:
    """The archive as npm has it."""
    command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--json", "--ignore-scripts"]
    command += ["--fetch-retries=1", "--fetch-timeout=30000"]
    try:
        done = subprocess.run(command, cwd=place, capture_output=True, timeout=_SECONDS, check=True)
        file = str(json.loads(done.stdout)[0]["filename"])
        return (place / file).read_bytes()
    except (subprocess.SubprocessError, OSError, ValueError, LookupError) as error:
        raise ViewerMissingError(f"npm did not give {PACKAGE} {VERSION}") from error
