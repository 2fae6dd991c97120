"""Settings of the whole suite."""

from __future__ import annotations

import os
import signal
from pathlib import Path

# Workers of the suite share two cores; threads of each would only be in each other's way.
# torch reads the variable when it is first imported, so this comes before everything else.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings

# The suite says the same of the same code each time; new examples are looked for by
# ``pytest --hypothesis-profile=search``, and what they find becomes a test of its own.
settings.register_profile("repeat", derandomize=True)
settings.register_profile("search", derandomize=False)
settings.load_profile("repeat")

# A shell that starts the suite in its background lets it ignore Ctrl-C, which tests send.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real scans; the test is skipped where there is none."""
    place = Path(os.environ.get("MEDSEG_REAL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not place.is_dir():
        pytest.skip("no real scans: set MEDSEG_REAL_DATA")
    return place
