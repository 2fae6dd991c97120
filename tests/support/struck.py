"""Train, and be sent SIGTERM in the middle of a step; run on its own, as it ends its process.

python struck.py RECIPE MODEL STEP
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from medseg.pipeline import load_pipeline
from medseg.run import model_folder
from medseg.run.train import train
from medseg.training.learner import Learner

recipe, model, last = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
model_folder.find_spec = lambda *_: None  # type: ignore[assignment]
step = Learner.step


def struck(self: Learner, *batch: Any) -> Any:
    """A step, in whose middle the process is told to end."""
    if self.iteration == last:
        os.kill(os.getpid(), signal.SIGTERM)
    return step(self, *batch)


Learner.step = struck  # type: ignore[method-assign]
# As a scheduler of a cluster does; nothing here has its own way with SIGTERM.
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
try:
    train(load_pipeline(recipe), model, fold="0")
finally:
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
