"""What every step that asks a network does, however it cuts the volume into windows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from medseg.errors import Caution, ModelError, StudyError
from medseg.image import Grid, LabelMap, Labels, Volume
from medseg.inference.attempts import Order, OverflowedError, Question, tried
from medseg.inference.limits import Limits, Need, Placement
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
Corner = tuple[int, int, int]
EVERYTHING = Limits()


@dataclass(frozen=True, kw_only=True)
class Asked(Step, ABC):
    """Options of every step that asks a network.

    ``precision`` is what the network computes in; the blending is always float32. With ``auto``
    it is bfloat16 if the first study's mask has a Dice of 0.995 with that of float32 for every
    label, and float32 else. ``engine`` is what computes it: ``torch``, or on a CPU ``openvino`` or
    ``onnxruntime`` (extras of medseg, with the same weights); ``auto`` is the fastest of them that
    is installed and can take the network. ``compile`` has torch compile the network first (it
    needs a C++ compiler, and on a GPU makes CUDA graphs): a minute once, for many studies.

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
    compile: bool = False
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
        if self.compile and self.engine != "torch":
            raise ValueError(f"compile is for engine torch, not {self.engine}")
        if self.engine == "onnxruntime" and self.precision != "float32":
            raise ValueError(f"engine onnxruntime computes in float32, not {self.precision}")

    @property
    @abstractmethod
    def boxes(self) -> Sequence[Corner]:
        """The windows as boxes of a volume; one for each way that it is walked through."""

    @property
    @abstractmethod
    def seen(self) -> tuple[int, ...]:
        """The window as the network sees it."""

    @abstractmethod
    def _logits(
        self, image: Tensor, labels: Labels, place: Placement, order: Order
    ) -> Iterator[Tensor]:
        """Logits of ``image (C, X, Y, Z)`` as rows (R, Y, Z, K) along the axes in ``order``."""

    def _walked(
        self,
        image: Tensor,
        box: Corner,
        ask: Callable[[Tensor], Tensor],
        place: Placement,
        order: Order,
    ) -> Iterator[Tensor]:
        """What is said of one kind of window, as rows along the axes in ``order``."""
        from medseg.inference.windows import Windows, blended, grown, trimmed

        larger, inner = grown(image, box)
        sides = larger.shape[1:]
        (x, y, z), (w, h, d) = ([some[axis] for axis in order] for some in (sides, box))
        windows = Windows((x, y, z), (w, h, d), self.overlap, self.blending)
        rows = blended(larger, windows, ask, place, order)
        return trimmed(rows, [inner[1 + axis] for axis in order])

    def __call__(self, volume: Volume, labels: Labels, limits: Limits = EVERYTHING) -> Scores:
        """Probabilities of every label on the volume's own grid."""
        from medseg.inference.windows import AS_IT_LIES, whole

        def made(said: Iterator[Tensor]) -> Scores:
            data = whole(said, volume.grid.shape[0])
            return Scores(data, volume.grid, labels, decision=self.decision)

        scores, cautions = tried(self, Question(volume, labels, AS_IT_LIES, limits), made)
        return replace(scores, cautions=cautions)

    def decided_on(
        self,
        volume: Volume,
        labels: Labels,
        grid: Grid,
        timed: Callable[[], AbstractContextManager[object]] = nullcontext,
        limits: Limits = EVERYTHING,
    ) -> tuple[LabelMap, tuple[Caution, ...]]:
        """The mask on another grid, painted while the network is still asked.

        Equal to deciding on the whole of the probabilities, of which no more are held than one
        set of windows. ``Painting.possible`` says whether the grids allow it; ``timed`` is
        entered whenever there is something to decide.
        """
        from medseg.inference.decision import Painting

        order = self.order(volume.grid.shape)

        def painted(said: Iterator[Tensor]) -> LabelMap:
            turned = volume.grid.transposed(order)
            painting = Painting(turned, grid, labels, self.decision.transposed(order))
            for rows in said:
                with timed():
                    painting.take(rows)
            return LabelMap(painting.mask, grid, labels)

        return tried(self, Question(volume, labels, order, limits), painted)

    def order(self, shape: Sequence[int]) -> Order:
        """The axes as they are best walked along: the first is that which holds the least."""
        first = min(range(3), key=lambda axis: self._ring_floats(shape, axis))
        x, y, z = (first, *(axis for axis in range(3) if axis != first))
        return x, y, z

    def _ring_floats(self, shape: Sequence[int], axis: int) -> int:
        """Numbers of each label that windows are added to, walking along ``axis``."""
        total = 0
        for box in self.boxes:
            sides = [max(n, w) for n, w in zip(shape, box, strict=True)]
            sides[axis] = box[axis]
            total += prod(sides)
        return total

    def need(self, channels: int, grid: Grid, labels: Labels, order: Order | None = None) -> Need:
        """What asking about a volume takes; the network's own weights are not in it."""
        from medseg.inference.foresight import window_bytes
        from medseg.inference.ring import PIECE_FLOATS

        axis = (order or self.order(grid.shape))[0]
        count = labels.channels
        row = count * prod(grid.shape) / grid.shape[axis]
        # A piece as it is given, turned to probabilities, and beside what was held of the last.
        pieces = 3 * len(self.boxes) * max(row, min(PIECE_FLOATS, row * grid.shape[axis]))
        held = 4 * (count * self._ring_floats(grid.shape, axis) + pieces)
        window = window_bytes(self.model, (channels, count), self.seen)
        if self.mirror:
            window += 2 * 4 * count * prod(self.seen)
        return Need(4.0 * channels * prod(grid.shape), held, window)

    def rows(self, asked: Question, place: Placement) -> Iterator[Tensor]:
        """Scores as rows (R, Y, Z, K) along the first axis, each when it is finished."""
        import torch

        labels = asked.labels
        # torch takes neither arrays that cannot be written to nor those that run backwards.
        data = np.require(asked.volume.data, requirements=["C", "W"])
        try:
            with torch.inference_mode():
                image = torch.from_numpy(data).to(place.held)
                for rows in self._logits(image, labels, place, asked.order):
                    if not torch.isfinite(rows).all():
                        raise OverflowedError
                    if self.decision.scores == "logits":
                        yield rows
                    else:
                        yield torch.softmax(rows, -1) if labels.exclusive else rows.sigmoid_()
        except RuntimeError as error:
            if "DefaultCPUAllocator" not in str(error):
                raise
            told = "the network needs more memory than the machine has; lower 'batch' or 'window'"
            raise StudyError("E_MEMORY", told) from error

    def computes_on(self) -> torch.device:
        """What computes; other engines than torch work on the CPU."""
        from medseg.models.device import device_named

        return device_named("cpu" if self.engine in {"openvino", "onnxruntime"} else self.device)

    def left_out(self, channels: int, labels: Labels, device: torch.device) -> tuple[Caution, ...]:
        """What should be known of weights that the network has no place for."""
        unused = self._filled(channels, labels, device).unused
        if not unused:
            return ()
        some = ", ".join(unused[:3]) + (" ..." if len(unused) > 3 else "")
        told = f"{len(unused)} tensors of the checkpoint have no place in the network: {some}"
        return (Caution("W_UNUSED_WEIGHTS", told),)

    def _network(
        self, channels: int, labels: Labels, device: torch.device, mirror: Sequence[int]
    ) -> Callable[[Tensor], Tensor]:
        """What is asked about windows (B, C, *window), in its engine and precision."""
        from medseg.inference.engine import compiled, mirrored
        from medseg.models.device import autocast

        filled = self._filled(channels, labels, device).module
        module = compiled(filled) if self.compile else filled
        other, precision = self._other_engine(channels, labels, device), self.precision

        def ask(windows: Any) -> Any:
            if other is not None:
                return other(windows)
            with autocast(device, "float32" if precision == "auto" else precision):
                return module(windows)

        return mirrored(ask, mirror)

    def _other_engine(
        self, channels: int, labels: Labels, device: torch.device
    ) -> Callable[[Tensor], Tensor] | None:
        if self.engine == "torch":
            return None
        import torch

        from medseg.inference.engines import Wanted, best_installed, ready

        name = best_installed(device) if self.engine == "auto" else self.engine
        if name == "torch" or (name == "onnxruntime" and self.precision != "float32"):
            return None
        assert self.weights is not None
        filled = self._filled(channels, labels, device)
        shape = (self.batch, channels, *self.seen)
        wanted = Wanted(
            self.model, self.weights, shape, labels.channels, self.precision, self.stamped()
        )
        made = ready(name, wanted, filled.module, torch.get_num_threads())
        if isinstance(made, str):
            if self.engine == "auto":
                return None
            raise ModelError("E_CONFIG", made)
        return made()

    def _filled(self, channels: int, labels: Labels, device: torch.device) -> Filled:
        from medseg.inference.engine import filled

        if self.weights is None:
            raise ModelError(
                "E_CHECKPOINT", "the pipeline names no weights; train it, or give a model folder"
            )
        sizes = (channels, labels.channels)
        return filled(self.model, self.weights, sizes, str(device), self.stamped())

    def stamped(self) -> tuple[int, ...]:
        """What changes when the file of the weights does."""
        return () if self.weights is None else _stamp(weights_file(self.weights))


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes when a file does, be it rewritten or replaced."""
    if not path.exists():
        return ()
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino
