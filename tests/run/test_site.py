"""A site says where the work runs, and moves only what can be moved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medseg.pipeline import Site, load_pipeline
from medseg.run.site import settled

TEXT = """\
name: placed
labels: {a: 1}
inference:
  - sliding_window:
      model: {name: dynunet, widths: [4, 6, 8]}
      window: [8, 8, 8]
      engine: ENGINE
  - threshold: {minimum: 1}
"""


@pytest.mark.parametrize(
    ("engine", "device"),
    [("torch", "cuda"), ("auto", "cuda"), ("openvino", "auto"), ("onnxruntime", "auto")],
)
def test_engines_of_the_cpu_stay_there_whatever_the_site_says(
    tmp_path: Path, engine: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medseg.models.device.device_named", lambda name: name)
    path = tmp_path / "placed.yaml"
    path.write_text(TEXT.replace("ENGINE", engine))
    asked: Any = settled(load_pipeline(path), Site(device="cuda")).inference[0]
    assert asked.device == device
