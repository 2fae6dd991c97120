"""A network asked window by window; in 3D, and in 2D on slices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medseg.errors import Caution, ModelError, StudyError
from medseg.image import Labels, Volume
from medseg.inference.scores import Scores
from medseg.models import Network
from medseg.models.checkpoint import Checkpoint, weights_file
from medseg.step import Step

if TYPE_CHECKING:
    from torch import Tensor

    from medseg.inference.engine import Filled

Axis = Literal[0, 1, 2]


@dataclass(frozen=True, kw_only=True)
class _Asked(Step, ABC):
    """Options of every step that asks a network.

    ``precision`` is what the network computes in; the blending is always float32.
    """

    model: Network
    weights: Path | Checkpoint | None = None
    overlap: float = 0.5
    blending: Literal["gaussian", "constant"] = "gaussian"
    mirror: tuple[Axis, ...] = ()
    batch: int = 1
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    device: str = "auto"

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise ValueError(f"overlap lies in [0, 1), not {self.overlap}")
        if self.batch < 1:
            raise ValueError(f"batch is at least 1, not {self.batch}")
        if len(set(self.mirror)) != len(self.mirror):
            raise ValueError(f"mirror names each axis once, not {self.mirror}")

    @abstractmethod
    def _logits(self, image: Tensor, labels: Labels) -> Tensor:
        """Logits (K, X, Y, Z) of ``image (C, X, Y, Z)``."""

    def __call__(self, volume: Volume, labels: Labels) -> Scores:
        """Probabilities of every label on the volume's own grid."""
        import torch

        try:
            with torch.inference_mode():
                return self._scores(volume, labels)
        except torch.OutOfMemoryError as error:
            told = "the network needs more memory than the device has; lower 'batch' or 'window'"
            raise StudyError("E_GPU_MEMORY", told) from error
        except RuntimeError as error:
            if "DefaultCPUAllocator" not in str(error):
                raise
            told = "the network needs more memory than the machine has; lower 'batch' or 'window'"
            raise StudyError("E_MEMORY", told) from error

    def _scores(self, volume: Volume, labels: Labels) -> Scores:
        import torch

        from medseg.models.device import device_named

        # torch takes neither arrays that cannot be written to nor those that run backwards.
        data = np.require(volume.data, requirements=["C", "W"])
        image = torch.from_numpy(data).to(device_named(self.device))
        logits = self._logits(image, labels)
        cautions: tuple[Caution, ...] = ()
        if not torch.isfinite(logits).all():
            logits, cautions = self._again(image, labels)
        cautions += self._left_out(image, labels)
        # In place: these may be the largest numbers of the whole run.
        if labels.exclusive:
            logits -= logits.amax(0)
            logits.exp_()
            logits /= logits.sum(0)
        else:
            logits.sigmoid_()
        return Scores(logits, volume.grid, labels, cautions)

    def _left_out(self, image: Tensor, labels: Labels) -> tuple[Caution, ...]:
        unused = self._filled(image, labels).unused
        if not unused:
            return ()
        some = ", ".join(unused[:3]) + (" ..." if len(unused) > 3 else "")
        told = f"{len(unused)} tensors of the checkpoint have no place in the network: {some}"
        return (Caution("W_UNUSED_WEIGHTS", told),)

    def _again(self, image: Tensor, labels: Labels) -> tuple[Tensor, tuple[Caution, ...]]:
        """Numbers overflowed: once more in float32, or give the study up."""
        if self.precision != "float32":
            logits = replace(self, precision="float32")._logits(image, labels)
            if logits.isfinite().all():
                told = f"{self.precision} overflowed; the study was done in float32"
                return logits, (Caution("W_FALLBACK", told),)
        raise StudyError("E_NONFINITE_OUTPUT", "the network's logits are not finite numbers")

    def _network(
        self, image: Tensor, labels: Labels, mirror: Sequence[int]
    ) -> Callable[[Tensor], Tensor]:
        from medseg.inference.engine import mirrored
        from medseg.models.device import autocast

        module = self._filled(image, labels).module

        def ask(windows: Any) -> Any:
            with autocast(image.device, self.precision):
                return module(windows)

        return mirrored(ask, mirror)

    def _filled(self, image: Tensor, labels: Labels) -> Filled:
        from medseg.inference.engine import filled

        if self.weights is None:
            raise ModelError(
                "E_CHECKPOINT", "the pipeline names no weights; train it, or give a model folder"
            )
        channels = (image.shape[0], labels.channels)
        stamp = _stamp(weights_file(self.weights))
        return filled(self.model, self.weights, channels, str(image.device), stamp)


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes when a file does, be it rewritten or replaced."""
    if not path.exists():
        return ()
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


@dataclass(frozen=True, kw_only=True)
class SlidingWindow(_Asked):
    """Ask a 3D network window by window and blend what it says.

    ``window`` is in voxels of the preprocessed grid; smaller volumes are padded with zeros.
    ``overlap`` is the share of a window that its neighbour sees too. ``mirror`` averages over
    mirror images along these axes. Gaussian blending after Isensee et al. 2021.
    """

    window: tuple[int, int, int]

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.window) < 1:
            raise ValueError(f"window is three sides of at least 1 voxel, not {self.window}")
        if self.model.spatial_dims != 3:
            raise ValueError("sliding_window asks a 3D network; for a 2D one there is 'slices'")

    def _logits(self, image: Tensor, labels: Labels) -> Tensor:
        from medseg.inference.windows import Windows, blended, grown

        larger, inner = grown(image, self.window)
        x, y, z = larger.shape[1:]
        windows = Windows((x, y, z), self.window, self.overlap, self.blending)
        ask = self._network(image, labels, self.mirror)
        return blended(larger, windows, ask, self.batch)[inner]


@dataclass(frozen=True, kw_only=True)
class Slices(_Asked):
    """Ask a 2D network slice by slice, along one axis or the mean of several.

    ``axes`` are the normals of the slices (2: axial in a volume turned to RAS). ``window`` is
    the size within a slice; a slice that is smaller is padded with zeros.
    """

    window: tuple[int, int]
    axes: tuple[Axis, ...] = (2,)
    batch: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.window) < 1:
            raise ValueError(f"window is two sides of at least 1 voxel, not {self.window}")
        if not self.axes or len(set(self.axes)) != len(self.axes):
            raise ValueError(f"axes names one axis or several different ones, not {self.axes}")
        if self.model.spatial_dims != 2:
            raise ValueError("slices asks a 2D network; for a 3D one there is 'sliding_window'")

    def _logits(self, image: Tensor, labels: Labels) -> Tensor:
        logits = self._along(image, labels, self.axes[0])
        for axis in self.axes[1:]:
            logits += self._along(image, labels, axis)
        return logits.div_(len(self.axes))

    def _along(self, image: Tensor, labels: Labels, axis: int) -> Tensor:
        from medseg.inference.windows import Windows, blended, grown

        within = iter(self.window)
        x, y, z = (1 if side == axis else next(within) for side in range(3))
        larger, inner = grown(image, (x, y, z))
        shape = (larger.shape[1], larger.shape[2], larger.shape[3])
        windows = Windows(shape, (x, y, z), self.overlap, self.blending)
        # Mirroring counts the axes of the volume; across the slices there is nothing to mirror.
        kept = [side for side in range(3) if side != axis]
        mirror = [kept.index(m) for m in self.mirror if m != axis]
        ask = self._network(image, labels, mirror)
        return blended(
            larger, windows, lambda w: ask(w.squeeze(2 + axis)).unsqueeze(2 + axis), self.batch
        )[inner]
