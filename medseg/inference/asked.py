"""What every step that asks a network does, however it cuts the volume into windows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from medseg.errors import Caution, ModelError, StudyError
from medseg.image import Grid, LabelMap, Labels, Volume
from medseg.inference.rule import PROBABLE, Decision
from medseg.inference.scores import Scores
from medseg.models import Network
from medseg.models.checkpoint import Checkpoint, weights_file
from medseg.step import Step

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from medseg.inference.engine import Filled

Axis = Literal[0, 1, 2]
Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class Asked(Step, ABC):
    """Options of every step that asks a network.

    ``precision`` is what the network computes in; the blending is always float32. With ``auto``
    it is bfloat16 if the first study's mask has a Dice of 0.995 with that of float32 for every
    label, and float32 else. ``engine`` is what computes it: ``torch``, or on a CPU ``openvino`` or
    ``onnxruntime`` (extras of medseg, with the same weights); ``auto`` is the fastest of them that
    is installed and can take the network.

    ``blending`` weighs the windows: by a Gaussian of an eighth of their size, which at the far
    ends is held at a hundredth; equally; or as nnU-Net does, with a Gaussian to its ends about
    the voxel after the middle, and windows that share ``overlap`` on average. ``decision`` is how
    the scores become a mask; the steps of one pipeline have the same.
    """

    model: Network
    weights: Path | Checkpoint | None = None
    overlap: float = 0.5
    blending: Literal["gaussian", "constant", "nnunet"] = "gaussian"
    mirror: tuple[Axis, ...] = ()
    batch: int = 1
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "float32"
    engine: Literal["auto", "torch", "openvino", "onnxruntime"] = "torch"
    device: str = "auto"
    decision: Decision = PROBABLE

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < 1:
            raise ValueError(f"overlap lies in [0, 1), not {self.overlap}")
        if self.batch < 1:
            raise ValueError(f"batch is at least 1, not {self.batch}")
        if len(set(self.mirror)) != len(self.mirror):
            raise ValueError(f"mirror names each axis once, not {self.mirror}")
        if self.engine in {"openvino", "onnxruntime"} and self.device not in {"auto", "cpu"}:
            raise ValueError(f"engine {self.engine} works on the CPU, not on {self.device}")
        if self.engine == "onnxruntime" and self.precision != "float32":
            raise ValueError(f"engine onnxruntime computes in float32, not {self.precision}")

    @abstractmethod
    def _logits(self, image: Tensor, labels: Labels) -> Iterator[Tensor]:
        """Logits of ``image (C, X, Y, Z)`` as rows (R, Y, Z, K), each when it is finished."""

    def __call__(self, volume: Volume, labels: Labels) -> Scores:
        """Probabilities of every label on the volume's own grid."""
        from medseg.inference.windows import whole

        def made(said: Iterator[Tensor]) -> Scores:
            data = whole(said, volume.grid.shape[0])
            return Scores(data, volume.grid, labels, decision=self.decision)

        scores, cautions = self._tried(volume, labels, made)
        return replace(scores, cautions=cautions)

    def decided_on(
        self,
        volume: Volume,
        labels: Labels,
        grid: Grid,
        timed: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> tuple[LabelMap, tuple[Caution, ...]]:
        """The mask on another grid, painted while the network is still asked.

        Equal to deciding on the whole of the probabilities, of which no more are held than one
        set of windows. ``Painting.possible`` says whether the grids allow it; ``timed`` is
        entered whenever there is something to decide.
        """
        from medseg.inference.decision import Painting

        def painted(said: Iterator[Tensor]) -> LabelMap:
            painting = Painting(volume.grid, grid, labels, self.decision)
            for rows in said:
                with timed():
                    painting.take(rows.cpu())
            return LabelMap(painting.mask, grid, labels)

        return self._tried(volume, labels, painted)

    @abstractmethod
    def held_floats(self, grid: Grid, labels: Labels) -> float:
        """Numbers that are held at once while the mask is painted, the network's own aside."""

    def _tried(
        self, volume: Volume, labels: Labels, take: Callable[[Iterator[Tensor]], Made]
    ) -> tuple[Made, tuple[Caution, ...]]:
        """What is made of the rows; once more in float32 where a lower precision overflows."""
        if self.precision == "auto":
            return self._compared(volume, labels, take)
        cautions = self._left_out(volume, labels)
        try:
            return take(self.rows(volume, labels)), cautions
        except _OverflowError:
            if self.precision == "float32":
                raise _not_finite() from None
        try:
            made = take(replace(self, precision="float32").rows(volume, labels))
        except _OverflowError:
            raise _not_finite() from None
        told = f"{self.precision} overflowed; the study was done in float32"
        return made, (Caution("W_FALLBACK", told), *cautions)

    def _compared(
        self, volume: Volume, labels: Labels, take: Callable[[Iterator[Tensor]], Made]
    ) -> tuple[Made, tuple[Caution, ...]]:
        """In the precision that the first study decided on; here and now, if this is the first."""
        key = (self, labels.names, self._stamped())
        if (known := _VERDICTS.get(key)) is not None:
            return replace(self, precision=known)._tried(volume, labels, take)
        full, cautions = replace(self, precision="float32")._tried(volume, labels, take)
        low, _ = replace(self, precision="bfloat16")._tried(volume, labels, take)
        agreed, told = agreement(_mask_of(full), _mask_of(low))
        verdict = _VERDICTS[key] = "bfloat16" if agreed >= ENOUGH else "float32"
        found = f"bfloat16 against float32 on this study: Dice {told}; {verdict} is taken"
        return (low if agreed >= ENOUGH else full), (*cautions, Caution("W_PRECISION", found))

    def rows(self, volume: Volume, labels: Labels) -> Iterator[Tensor]:
        """Scores as rows (R, Y, Z, K) along the first axis, each when it is finished."""
        import torch

        # torch takes neither arrays that cannot be written to nor those that run backwards.
        data = np.require(volume.data, requirements=["C", "W"])
        try:
            with torch.inference_mode():
                image = torch.from_numpy(data).to(self._place())
                for rows in self._logits(image, labels):
                    if not torch.isfinite(rows).all():
                        raise _OverflowError
                    if self.decision.scores == "logits":
                        yield rows
                    else:
                        yield torch.softmax(rows, -1) if labels.exclusive else rows.sigmoid_()
        except torch.OutOfMemoryError as error:
            told = "the network needs more memory than the device has; lower 'batch' or 'window'"
            raise StudyError("E_GPU_MEMORY", told) from error
        except RuntimeError as error:
            if "DefaultCPUAllocator" not in str(error):
                raise
            told = "the network needs more memory than the machine has; lower 'batch' or 'window'"
            raise StudyError("E_MEMORY", told) from error

    def _place(self) -> torch.device:
        """Where windows are cut out and added up; other engines than torch work on the CPU."""
        from medseg.models.device import device_named

        return device_named("cpu" if self.engine in {"openvino", "onnxruntime"} else self.device)

    def _left_out(self, volume: Volume, labels: Labels) -> tuple[Caution, ...]:
        unused = self._filled(volume.channels, labels, self._place()).unused
        if not unused:
            return ()
        some = ", ".join(unused[:3]) + (" ..." if len(unused) > 3 else "")
        told = f"{len(unused)} tensors of the checkpoint have no place in the network: {some}"
        return (Caution("W_UNUSED_WEIGHTS", told),)

    def _network(
        self, image: Tensor, labels: Labels, window: Sequence[int], mirror: Sequence[int]
    ) -> Callable[[Tensor], Tensor]:
        """What is asked about windows (B, C, *window), in its engine and precision."""
        from medseg.inference.engine import mirrored
        from medseg.models.device import autocast

        module = self._filled(image.shape[0], labels, image.device).module
        other, precision = self._other_engine(image, labels, window), self.precision

        def ask(windows: Any) -> Any:
            if other is not None:
                return other(windows)
            with autocast(image.device, "float32" if precision == "auto" else precision):
                return module(windows)

        return mirrored(ask, mirror)

    def _other_engine(
        self, image: Tensor, labels: Labels, window: Sequence[int]
    ) -> Callable[[Tensor], Tensor] | None:
        if self.engine == "torch":
            return None
        import torch

        from medseg.inference.engines import Wanted, best_installed, ready

        name = best_installed(image.device) if self.engine == "auto" else self.engine
        if name == "torch" or (name == "onnxruntime" and self.precision != "float32"):
            return None
        assert self.weights is not None
        filled = self._filled(image.shape[0], labels, image.device)
        shape = (self.batch, image.shape[0], *window)
        wanted = Wanted(
            self.model, self.weights, shape, labels.channels, self.precision, self._stamped()
        )
        made = ready(name, wanted, filled.module, torch.get_num_threads())
        if isinstance(made, str):
            if self.engine == "auto":
                return None
            raise ModelError("E_CONFIG", made)
        return made

    def _filled(self, channels: int, labels: Labels, device: torch.device) -> Filled:
        from medseg.inference.engine import filled

        if self.weights is None:
            raise ModelError(
                "E_CHECKPOINT", "the pipeline names no weights; train it, or give a model folder"
            )
        sizes = (channels, labels.channels)
        return filled(self.model, self.weights, sizes, str(device), self._stamped())

    def _stamped(self) -> tuple[int, ...]:
        return () if self.weights is None else _stamp(weights_file(self.weights))


ENOUGH = 0.995
"""The Dice with float32 from which on a lower precision is as good."""
_VERDICTS: dict[Any, Literal["float32", "bfloat16"]] = {}


def _mask_of(made: Any) -> LabelMap:
    return made if isinstance(made, LabelMap) else made.decided_on(made.grid)


def agreement(one: LabelMap, other: LabelMap) -> tuple[float, str]:
    """The lowest Dice of a label between two masks, 1 where both lack it; and all, in words."""
    found = {}
    for name in one.labels.names:
        here, there = one.where(name), other.where(name)
        total = int(here.sum()) + int(there.sum())
        found[name] = 2 * int((here & there).sum()) / total if total else 1.0
    told = ", ".join(f"{name} {dice:.4f}" for name, dice in found.items())
    return min(found.values()), told


class _OverflowError(ArithmeticError):
    """The network's numbers left what its precision can hold."""


def _not_finite() -> StudyError:
    return StudyError("E_NONFINITE_OUTPUT", "the network's logits are not finite numbers")


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes when a file does, be it rewritten or replaced."""
    if not path.exists():
        return ()
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino
