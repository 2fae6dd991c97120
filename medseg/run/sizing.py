"""How large a network, a window and a batch a budget of memory and minutes allows."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, prod
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from medseg.models.device import autocast, densely, device_named, layout, without_values
from medseg.models.dynunet import DynUNet
from medseg.models.network import Dims
from medseg.models.sizing import sizes

STEPS = 3000
"""Fewer steps than these do not train a network; a budget is spent on them first."""
_BASES = (32, 24, 16, 12, 8)
_MOST_BATCH = 12
_LEAST_SIDE = 32
_FIXED_GIB = 0.7
_BYTES_A_FEATURE = 6
"""Of every number in a feature map: half precision, what normalisation keeps, the gradient."""
_BYTES_A_WEIGHT = 24
"""Weight, gradient, two moments, average and a copy in half precision."""


@dataclass(frozen=True)
class Budget:
    """What training may take: minutes, memory, and how fast this machine trains.

    ``teraflops`` are 10^12 operations a second of a small U-Net's training steps.
    """

    minutes: float
    memory_gib: float
    teraflops: float

    def __post_init__(self) -> None:
        for name in ("minutes", "memory_gib", "teraflops"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is above 0, not {getattr(self, name)}")


@dataclass(frozen=True)
class Sized:
    """A network with its window and batch: what they ask for, and the steps the budget buys."""

    model: DynUNet
    window: tuple[int, ...]
    batch: int
    memory_gib: float
    gmacs: float
    steps: int


@dataclass(frozen=True)
class Sizer:
    """Sizes networks for images of ``channels`` and masks of as many ``outputs``.

    ``spacing`` is that of the axes the network sees; ``voxels`` counts those of all studies.
    """

    channels: int
    outputs: int
    spacing: tuple[float, ...]
    voxels: int
    budget: Budget

    def sized(self, shape: Sequence[int]) -> Sized:
        """The widest network on the largest window, in that order of giving way.

        The window is at most ``shape``, rounded up to what the network's strides divide.
        """
        window = self._whole(shape)
        while True:
            for base in _BASES[:3]:
                found = self._of(window, base, 2)
                if self._affordable(found):
                    return self._filled(found, base)
            smaller = self._smaller(window, shape)
            if smaller == window:
                break
            window = smaller
        # Nothing fits: the least that there is, and the comment says how few steps that gives.
        return self._of(window, _BASES[-1], 2)

    def _affordable(self, found: Sized) -> bool:
        return found.memory_gib <= self.budget.memory_gib and found.steps >= STEPS

    def _filled(self, found: Sized, base: int) -> Sized:
        """A batch as large as memory, time, and a twentieth of all voxels allow."""
        most = max(2, int(0.05 * self.voxels / prod(found.window)))
        for batch in range(min(_MOST_BATCH, most), 2, -1):
            larger = self._of(found.window, base, batch)
            if self._affordable(larger):
                return larger
        return found

    def _smaller(self, window: tuple[int, ...], shape: Sequence[int]) -> tuple[int, ...]:
        """An eighth less, or one stride, along the side that is longest beside the scan's."""
        sides = list(zip(window, shape, strict=True))
        shares = [side / whole if side > _LEAST_SIDE else 0 for side, whole in sides]
        longest = max(range(len(window)), key=lambda axis: (shares[axis], window[axis]))
        if shares[longest] == 0:
            return window
        step = self._steps(window)[longest]
        cut = min(int(window[longest] * 0.875) // step * step, window[longest] - step)
        return self._whole(
            [max(cut, step) if axis == longest else n for axis, n in enumerate(window)]
        )

    def _steps(self, shape: Sequence[int]) -> list[int]:
        strides = sizes(shape, self.spacing, _levels(len(shape))).strides
        return [prod(axis) for axis in zip(*strides, strict=True)] or [1] * len(shape)

    def _whole(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The shape, rounded up to multiples of what the strides divide by."""
        sides = zip(shape, self._steps(shape), strict=True)
        return tuple(ceil(side / step) * step for side, step in sides)

    def _of(self, window: tuple[int, ...], base: int, batch: int) -> Sized:
        model = replace(self.network(window, base), norm="batch" if batch >= 4 else "instance")
        features, weights, gmacs = self._asked(window, base)
        memory = _FIXED_GIB + (batch * features * _BYTES_A_FEATURE + weights * _BYTES_A_WEIGHT) / (
            2**30
        )
        # Forward once, backward twice; two operations a multiplication.
        flops = 6e9 * gmacs * batch
        steps = int(self.budget.minutes * 60 * self.budget.teraflops * 1e12 / flops)
        return Sized(model, window, batch, memory, gmacs, steps)

    def _asked(self, window: tuple[int, ...], base: int) -> tuple[float, int, float]:
        """The cost of a patch: that of the least one, times how many of it a window holds."""
        least = tuple(2 * step for step in self._steps(window))
        ends = self.channels, self.outputs
        features, weights, gmacs = _cost(self.network(window, base), ends, least)
        times = prod(window) / prod(least)
        return features * times, weights, gmacs * times

    def network(self, window: Sequence[int], base: int) -> DynUNet:
        """nnU-Net's U-Net for a window: levels, strides and kernels by its rules."""
        dims: Dims = 3 if len(window) == 3 else 2
        found = sizes(window, self.spacing, _levels(dims))
        strides, kernels = found.strides, found.kernels
        while len(strides) < 2:
            strides, kernels = (*strides, (1,) * dims), (*kernels, (3,) * dims)
        most = 320 if dims == 3 else 512
        widths = tuple(min(base << level, most) for level in range(len(kernels)))
        plain = all(set(one) == {2} for one in strides), all(set(one) == {3} for one in kernels)
        return DynUNet(
            spatial_dims=dims,
            widths=widths,
            strides=None if plain[0] else strides,
            kernels=None if plain[1] else kernels,
            deep_supervision=1,
        )


def _levels(dims: int) -> int:
    return 6 if dims == 3 else 8


@lru_cache(maxsize=256)
def _cost(model: DynUNet, ends: tuple[int, int], window: tuple[int, ...]) -> tuple[int, int, float]:
    """Numbers in all feature maps of one patch, weights, and 10^9 multiplications."""
    with without_values():
        module, image = model(*ends).eval(), torch.empty(1, ends[0], *window)
    counts: list[int] = []

    def count(_: nn.Module, __: tuple[Tensor, ...], out: Tensor) -> None:
        counts.append(out.numel())

    for part in module.modules():
        if not list(part.children()):
            part.register_forward_hook(count)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(image)
    weights = sum(p.numel() for p in module.parameters())
    return sum(counts), weights, counter.get_total_flops() / 2e9


def measured_teraflops(device: str = "auto", seconds: float = 2.0) -> float:
    """How fast training steps of a small U-Net are here, in 10^12 operations a second."""
    where = device_named(device)
    model, window = DynUNet(widths=(24, 48, 96), norm="batch"), (40, 40, 40)
    module = densely(model(1, 2), 3).to(where).train()
    image = torch.randn(2, 1, *window, device=where).contiguous(memory_format=layout(3))
    _, _, gmacs = _cost(model, (1, 2), window)
    times: list[float] = []
    begun = perf_counter()
    while perf_counter() - begun < seconds or len(times) < 3:
        at = perf_counter()
        with autocast(where, "bfloat16"):
            found = module(image)
        found.float().square().mean().backward()
        if where.type == "cuda":
            torch.cuda.synchronize(where)
        times.append(perf_counter() - at)
    return 6e9 * gmacs * 2 / min(times[1:]) / 1e12


def usual_memory_gib(device: str = "auto") -> float:
    """Nine tenths of the accelerator's memory, or half of the machine's."""
    where = device_named(device)
    if where.type == "cuda":
        return 0.9 * torch.cuda.get_device_properties(where).total_memory / 2**30
    return 0.5 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
