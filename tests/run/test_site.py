"""A site says where the work runs, and moves only what can be moved."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

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
    there = torch.device("cuda")
    monkeypatch.setattr("medseg.models.device.device_named", lambda _: there)
    path = tmp_path / "placed.yaml"
    path.write_text(TEXT.replace("ENGINE", engine))
    asked: Any = settled(load_pipeline(path), Site(device="cuda")).inference[0]
    assert asked.device == device


HELD = """
import resource, sys, torch
from pathlib import Path
from medseg.pipeline import Site, load_pipeline
from medseg.run.site import settled

settled(load_pipeline(Path(sys.argv[1])), Site(device="cpu"))
network = torch.nn.Sequential(
    torch.nn.Conv3d(1, 16, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv3d(16, 16, 1)
)
image = torch.zeros(1, 1, 96, 96, 96)
fetched = []
with torch.inference_mode():
    for _ in range(24):  # the heap takes some turns to find its form
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        network(image)
        fetched.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(fetched) * resource.getpagesize())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
@pytest.mark.parametrize(("engine", "kept"), [("torch", True), ("openvino", False)])
def test_memory_that_a_network_freed_is_there_for_its_next_tensor(
    tmp_path: Path, engine: str, kept: bool
) -> None:
    path = tmp_path / "placed.yaml"
    path.write_text(TEXT.replace("ENGINE", engine))
    told = [sys.executable, "-c", HELD, str(path)]
    fetched = int(subprocess.run(told, check=True, capture_output=True, text=True).stdout)
    features = 4 * 16 * 96**3
    assert fetched < features / 2 if kept else fetched > 2 * features
