"""Floor 2: how work is dealt out. Send studies, get outcomes back."""

from medseg.execution.cluster import Dask
from medseg.execution.clustered import Reached, clustered
from medseg.execution.crew import Crew
from medseg.execution.local import Hall, supervised
from medseg.execution.outcome import Outcome
from medseg.execution.relay import Stations, relay
from medseg.execution.serial import serial
from medseg.execution.threaded import threaded

__all__ = [
    "Crew",
    "Dask",
    "Hall",
    "Outcome",
    "Reached",
    "Stations",
    "clustered",
    "relay",
    "serial",
    "supervised",
    "threaded",
]
