"""A step of a package of its own that does to its process what the scan's first voxel says."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import sleep

from medseg.image import Volume
from medseg.step import Step

KILL, HANG, EAT, WAIT = 1001, 1002, 1003, 1004
_PACKAGE = {
    "METADATA": "Metadata-Version: 2.1\nName: trouble\nVersion: 1.0\n",
    "entry_points.txt": "[medseg.preprocess]\ntrouble = support.trouble:Trouble\n",
}


@dataclass(frozen=True)
class Trouble(Step):
    """Die, hang, eat memory, or say which process it is in the file ``mark`` and wait."""

    mark: str

    def __call__(self, volume: Volume) -> Volume:
        """The same volume, where it comes to that."""
        what = int(volume.data.flat[0])
        if what == KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == HANG:
            sleep(3600)
        elif what == EAT:
            held = [bytearray(b"x" * 2**24) for _ in _slowly(1000)]
            del held
        elif what == WAIT and not Path(self.mark).exists():
            Path(self.mark).write_text(f"{os.getpid()}\n")
            sleep(3600)
        return volume


def _slowly(count: int) -> Iterator[int]:
    for number in range(count):
        sleep(0.02)
        yield number


def installed(folder: Path) -> Path:
    """A folder for the path of packages, in which this step is announced."""
    place = folder / "trouble-1.0.dist-info"
    place.mkdir(parents=True)
    for name, text in _PACKAGE.items():
        (place / name).write_text(text)
    return folder
