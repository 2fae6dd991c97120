"""Settings of the whole suite."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scans; the test is skipped where there is none."""
    place = Path(os.environ.get("MEDSEG_REAL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not place.is_dir():
        pytest.skip("no real scans: set MEDSEG_REAL_DATA")
    return place
