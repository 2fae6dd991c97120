"""Checkpoints: where what they hold lies once it is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from medseg.training.keeping import keep_checkpoint, kept_checkpoint


def test_a_checkpoint_is_read_into_the_machines_own_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An optimizer's count of steps, were it left on a GPU, would be waited for at every step."""
    load, places = torch.load, list[Any]()

    def heard(*where: Any, **how: Any) -> Any:
        places.append(how["map_location"])
        return load(*where, **how)

    monkeypatch.setattr(torch, "load", heard)
    keep_checkpoint(tmp_path, {"digest": "a", "step": torch.ones(())})
    kept = kept_checkpoint(tmp_path, ("a",))
    assert kept is not None
    assert kept["step"].item() == 1
    assert places == ["cpu"]
