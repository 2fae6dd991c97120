"""Five minutes with a GPU: parity with the CPU, the memory ladder, throughput beside both peers.

    python benchmarks/gpu_check.py [--device cuda] [--size 256] [--labels 14] [--output FILE]

A CT phantom of ``size`` voxels a side and a U-Net with weights that were drawn, not trained: every
voxel has labels that are close to each other, which is the hardest case for parity. What is
checked is told as it is found; the exit status is 1 where a check fails. ``--device cpu`` tries
the script itself where there is no GPU.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import torch

from medseg.errors import StudyError
from medseg.image import Grid, Label, LabelMap, Labels, Volume
from medseg.inference import Limits, Scores, SlidingWindow
from medseg.inference.limits import GIB
from medseg.models import DynUNet
from medseg.models.weights import weights_bytes

ROUNDS = 3
# Shares of voxels that may differ. The network's logits are nearly equal everywhere here; of a
# trained network's mask some hundred times fewer voxels are as close.
FLOAT32, MIXED = 1e-3, 5e-2


class Check:
    """What was found, told at once."""

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}
        self.failed: list[str] = []

    def tell(self, name: str, value: Any, well: bool = True) -> None:
        """Keep a finding, and print it; ``well`` says whether it is as it should be."""
        self.found[name] = value
        print(f"{'ok  ' if well else 'FAIL'}  {name}: {value}", flush=True)
        if not well:
            self.failed.append(name)


def main() -> int:
    """All checks, one after the other."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--device", default="cuda")
    asked.add_argument("--size", type=int, default=256)
    asked.add_argument("--labels", type=int, default=14)
    asked.add_argument("--output", type=Path)
    options = asked.parse_args()
    device, check = torch.device(options.device), Check()
    check.tell("torch", torch.__version__)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        check.tell("device", torch.cuda.get_device_name(device))
    labels = Labels(tuple(Label(f"label_{n}", (n,)) for n in range(1, options.labels + 1)))
    with tempfile.TemporaryDirectory() as folder:
        step = asking(Path(folder), labels, options.device)
        volume = phantom(options.size)
        scan = volume.grid.spaced([0.7, 0.7, 1.3])
        base = parity(check, step, volume, scan, labels)
        decision(check, labels, device)
        if device.type == "cuda":
            ladder(check, step, volume, scan, base)
        throughput(check, step, volume, labels, device)
    if options.output:
        options.output.write_text(json.dumps(check.found, indent=1))
    print("all is well" if not check.failed else f"failed: {', '.join(check.failed)}")
    return bool(check.failed)


def asking(folder: Path, labels: Labels, device: str) -> SlidingWindow:
    """A step with a network whose weights were drawn."""
    torch.manual_seed(0)
    model = DynUNet(widths=(32, 64, 128, 256), norm="batch")
    path = folder / "weights.safetensors"
    path.write_bytes(weights_bytes(model(1, labels.channels).state_dict()))
    return SlidingWindow(model=model, weights=path, window=(96, 96, 96), device=device)


def phantom(size: int) -> Volume:
    """Smooth blobs in noise, 1.5 mm a voxel."""
    chance = np.random.default_rng(0)
    coarse = torch.from_numpy(chance.normal(size=(1, 1, 12, 12, 12)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(coarse, (size,) * 3, mode="trilinear")[0]
    data = smooth.numpy() + 0.1 * chance.normal(size=(1, size, size, size)).astype(np.float32)
    return Volume(data.astype(np.float32), Grid(np.diag([1.5, 1.5, 1.5, 1.0]), (size,) * 3))


def parity(
    check: Check, step: SlidingWindow, volume: Volume, scan: Grid, labels: Labels
) -> LabelMap:
    """The CPU's mask beside those of the device, in each precision, and compiled."""
    half = half_of(torch.device(step.device))
    small = volume.grid.cropped((0, 0, 0), [min(112, n) for n in volume.grid.shape])
    part = Volume(np.ascontiguousarray(volume.data[:, :112, :112, :112]), small)
    there = small.spaced([0.7, 0.7, 1.3])
    cpu, _ = replace(step, device="cpu").decided_on(part, labels, there)
    for name, share, options in (
        ("float32", FLOAT32, {}),
        ("float32, 4 windows at once", FLOAT32, {"batch": 4}),
        ("float32, compiled", FLOAT32, {"compile": True}),
        ("bfloat16", MIXED, {"precision": "bfloat16"}),
        (half, MIXED, {"precision": half}),
    ):
        mask, cautions = replace(step, **options).decided_on(part, labels, there)
        differ = float(np.mean(mask.data != cpu.data))
        told = f"{differ:.2e} of {mask.data.size} voxels"
        check.tell(f"differs from the CPU: {name}", told, differ <= share and not cautions)
    once, _ = step.decided_on(volume, labels, scan)
    again, _ = step.decided_on(volume, labels, scan)
    check.tell("a second run differs", int((once.data != again.data).sum()))
    return once


def decision(check: Check, labels: Labels, device: torch.device) -> None:
    """The same scores decided on the device and by compiled loops: not a voxel may differ."""
    grid = Grid(np.diag([1.5, 1.5, 1.5, 1.0]), (60, 50, 40))
    target = grid.spaced([0.7, 0.7, 1.3])
    torch.manual_seed(1)
    scores = torch.randn(labels.channels, *grid.shape).softmax(0)
    here = Scores(scores, grid, labels).decided_on(target)
    there = Scores(scores.to(device), grid, labels).decided_on(target)
    differ = int((here.data != there.data).sum())
    check.tell("voxels that the decision on the device has otherwise", differ, differ == 0)


@contextmanager
def at_most(gib: float) -> Iterator[None]:
    """Let this process have so much of the GPU."""
    whole = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, gib * GIB / whole))
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


def ladder(check: Check, step: SlidingWindow, volume: Volume, scan: Grid, base: LabelMap) -> None:
    """Less and less memory: the plan comes down first, and where it is wrong, the ladder."""
    labels = base.labels
    for name, limits in (("planned", Limits(vram_gib=3)), ("held by the CPU", Limits(vram_gib=2))):
        torch.cuda.reset_peak_memory_stats()
        mask, cautions = replace(step, batch=4).decided_on(volume, labels, scan, limits=limits)
        peak = torch.cuda.max_memory_allocated() / GIB
        differ = float(np.mean(mask.data != base.data))
        told = f"{peak:.2f} GiB of {limits.vram_gib}, {differ:.1e} differ, {len(cautions)} falls"
        check.tell(f"ladder, {name}", told, peak <= (limits.vram_gib or 0) and differ < FLOAT32)
    for gib in (4.0, 2.0, 1.2):
        with at_most(gib):
            try:
                mask, cautions = replace(step, batch=8).decided_on(
                    volume, labels, scan, limits=Limits(vram_gib=1000)
                )
            except StudyError as error:
                check.tell(f"ladder, {gib} GiB there", error.code, error.code == "E_GPU_MEMORY")
                continue
        differ = float(np.mean(mask.data != base.data))
        told = f"{[c.message for c in cautions]}, {differ:.1e} differ"
        check.tell(f"ladder, {gib} GiB there", told, differ < FLOAT32)
    left = torch.cuda.memory_allocated() / GIB
    check.tell("allocated afterwards, GiB", round(left, 3), left < 0.5)


def throughput(
    check: Check, step: SlidingWindow, volume: Volume, labels: Labels, device: torch.device
) -> None:
    """Seconds for the whole volume, decided on its own grid, beside MONAI's and nnU-Net's windows.

    The peers' times end with their logits; medseg's with the mask.
    """
    grid, half = volume.grid, half_of(device)
    for name, options in (
        ("float32", {}),
        (half, {"precision": half}),
        (f"{half}, 4 at once", {"precision": half, "batch": 4}),
        (f"{half}, compiled", {"precision": half, "compile": True}),
    ):
        asked = replace(step, **options)
        check.tell(
            f"seconds, medseg {name}",
            timed(lambda asked=asked: asked.decided_on(volume, labels, grid), device),
        )
    module = step._filled(1, labels, device).module
    image = torch.from_numpy(volume.data)
    for name, run in (("MONAI", by_monai), ("nnU-Net", by_nnunet)):
        try:
            call = run(module, image, device, step.window)
        except ImportError:
            check.tell(f"seconds, {name}", "is not installed")
            continue
        check.tell(f"seconds, {name}", timed(call, device))


def by_monai(
    module: Any, image: torch.Tensor, device: torch.device, window: tuple[int, ...]
) -> Callable[[], object]:
    """MONAI's inferer on the same module and windows."""
    from monai.inferers import SlidingWindowInferer

    inferer = SlidingWindowInferer(window, sw_batch_size=4, overlap=0.5, mode="gaussian")

    def call() -> object:
        with torch.inference_mode(), torch.autocast(device.type, getattr(torch, half_of(device))):
            return inferer(image[None].to(device), module).cpu()

    return call


def by_nnunet(
    module: Any, image: torch.Tensor, device: torch.device, window: tuple[int, ...]
) -> Callable[[], object]:
    """nnU-Net's predictor on the same module and windows."""
    from types import SimpleNamespace

    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        tile_step_size=0.5, use_mirroring=False, device=device, allow_tqdm=False
    )
    with torch.inference_mode():
        channels = module(torch.zeros(1, 1, *window, device=device)).shape[1]
    predictor.network = module
    predictor.configuration_manager = SimpleNamespace(patch_size=list(window))
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=channels)
    return lambda: predictor.predict_sliding_window_return_logits(image).cpu()


def half_of(device: torch.device) -> str:
    """The 16 bits that a device is fast with."""
    return "float16" if device.type == "cuda" else "bfloat16"


def timed(call: Callable[[], object], device: torch.device) -> float:
    """The median of some calls, once it is warm."""
    seconds = []
    for _ in range(ROUNDS + 1):
        begun = perf_counter()
        call()
        if device.type == "cuda":
            torch.cuda.synchronize()
        seconds.append(perf_counter() - begun)
    return round(median(seconds[1:]), 2)


if __name__ == "__main__":
    sys.exit(main())
