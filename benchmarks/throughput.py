"""Studies an hour in this process and by one and two watched workers, a network at work.

    python benchmarks/throughput.py [--studies 24] [--size 96]

Each study is a ball in noise of ``--size`` voxels a side, segmented by a U-Net with random weights
in windows of 64: what a run costs, and not what it finds. "One process" has all cores for the
network and reads and writes beside it; one worker has all cores too and works from reading to
writing; two share them. Masks are compared byte by byte.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
from common import markdown
from safetensors.torch import save_file
from soak import make

from medseg.models import MODELS
from medseg.pipeline import Pipeline, Site, load_pipeline
from medseg.run.predict import predict

PIPELINE = """\
name: soak
labels: {ball: 1}
input: {path: images}
preprocess:
  - orientation: {axcodes: RAS}
  - normalize_intensity
inference:
  - sliding_window:
      model: {name: dynunet, widths: [16, 32, 64, 128]}
      weights: weights.safetensors
      window: [64, 64, 64]
"""
SITES = {
    "one process": Site(device="cpu"),
    "one worker": Site(device="cpu", execution="local", workers=1),
    "two workers": Site(device="cpu", execution="local", workers=2),
}


def with_network(folder: Path, studies: int, size: int) -> Pipeline:
    """Studies, and a pipeline whose network has weights."""
    make(folder, studies, size)
    torch.manual_seed(0)
    network = MODELS["dynunet"](widths=(16, 32, 64, 128))(1, 2)
    save_file(network.state_dict(), folder / "weights.safetensors")
    path = folder / "soak.yaml"
    path.write_text(PIPELINE)
    return load_pipeline(path)


def main() -> None:
    """Run it in three ways, and tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=24)
    parser.add_argument("--size", type=int, default=96)
    asked = parser.parse_args()
    rows, masks = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pipeline = with_network(folder, asked.studies, asked.size)
        for number, (said, site) in enumerate(SITES.items()):
            output = folder / f"out_{number}"
            begun = time.perf_counter()
            summary = predict(pipeline.writing_to(output), site)
            seconds = time.perf_counter() - begun
            assert not summary.failures
            masks.append([path.read_bytes() for path in sorted(output.glob("masks/*.nii.gz"))])
            rows.append([said, f"{seconds:.1f}", f"{3600 * asked.studies / seconds:.0f}"])
    print("\n".join(markdown(["where", "seconds", "studies an hour"], rows)))
    print("masks equal:", all(one == masks[0] for one in masks))


if __name__ == "__main__":
    main()
