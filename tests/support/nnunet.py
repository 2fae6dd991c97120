"""Folders of nnU-Net v2 made by hand, and what nnU-Net's rules say of an image, in plain numpy.

Nothing here uses medseg: the rules are those of nnU-Net 2.8.1, put down once more with SciPy,
scikit-image and torch's functions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import chain, combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import binary_fill_holes, gaussian_filter, map_coordinates
from skimage.transform import resize
from torch import Tensor
from torch.nn import functional

State = dict[str, Tensor]
TRAINER = "nnUNetTrainer"
RESAMPLED = "resample_data_or_seg_to_shape"


@dataclass(frozen=True)
class Model:
    """A small network by its plan; strides and kernels by level, the first stride all ones."""

    widths: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    residual: bool = False
    labels: int = 3
    channels: int = 1

    @property
    def dims(self) -> int:
        return len(self.strides[0])

    @property
    def blocks(self) -> list[int]:
        return [1, 2, 1][: len(self.widths)] if self.residual else [2] * len(self.widths)

    def architecture(self) -> dict[str, Any]:
        kind = "ResidualEncoderUNet" if self.residual else "PlainConvUNet"
        counted = "n_blocks_per_stage" if self.residual else "n_conv_per_stage"
        return {
            "network_class_name": f"dynamic_network_architectures.architectures.unet.{kind}",
            "arch_kwargs": {
                "n_stages": len(self.widths),
                "features_per_stage": list(self.widths),
                "conv_op": f"torch.nn.modules.conv.Conv{self.dims}d",
                "kernel_sizes": [list(one) for one in self.kernels],
                "strides": [list(one) for one in self.strides],
                counted: self.blocks,
                "n_conv_per_stage_decoder": [1] * (len(self.widths) - 1),
                "conv_bias": True,
                "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{self.dims}d",
                "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                "dropout_op": None,
                "dropout_op_kwargs": None,
                "nonlin": "torch.nn.LeakyReLU",
                "nonlin_kwargs": {"inplace": True},
            },
            "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
        }

    def drawn(self, seed: int) -> State:
        """Random weights by nnU-Net's names; each layer is there under both of its names."""
        made: State = {}
        random = torch.Generator().manual_seed(seed)

        def layer(name: str, inputs: int, outputs: int, kernel: Any, bias: bool) -> None:
            scale = (2 / (inputs * np.prod(kernel))) ** 0.5
            shape = (outputs, inputs, *kernel)
            parts = {"conv.weight": torch.randn(shape, generator=random) * scale}
            if bias:
                parts["conv.bias"] = torch.randn(outputs, generator=random) * 0.1
            parts["norm.weight"] = torch.rand(outputs, generator=random) + 0.5
            parts["norm.bias"] = torch.randn(outputs, generator=random) * 0.2
            for key, one in parts.items():
                made[f"{name}.{key}"] = one
                layer_name, _, part = key.partition(".")
                made[f"{name}.all_modules.{int(layer_name == 'norm')}.{part}"] = one

        inputs, top = self.channels, len(self.widths) - 2
        if self.residual:
            layer("encoder.stem.convs.0", inputs, self.widths[0], self.kernels[0], True)
            inputs = self.widths[0]
        for level, (width, kernel) in enumerate(zip(self.widths, self.kernels, strict=True)):
            for block in range(self.blocks[level]):
                if not self.residual:
                    name = f"encoder.stages.{level}.0.convs.{block}"
                    layer(name, inputs, width, kernel, True)
                else:
                    name = f"encoder.stages.{level}.blocks.{block}"
                    layer(f"{name}.conv1", inputs, width, kernel, True)
                    layer(f"{name}.conv2", width, width, kernel, True)
                    if inputs != width:
                        pooled = int(block == 0 and max(self.strides[level]) > 1)
                        layer(f"{name}.skip.{pooled}", inputs, width, (1,) * self.dims, False)
                inputs = width
        for step, level in enumerate(range(top, -1, -1)):
            width, below = self.widths[level], self.widths[level + 1]
            stride = self.strides[level + 1]
            scale = (2 / below) ** 0.5
            name = f"decoder.transpconvs.{step}"
            made[f"{name}.weight"] = torch.randn(below, width, *stride, generator=random) * scale
            made[f"{name}.bias"] = torch.randn(width, generator=random) * 0.1
            layer(f"decoder.stages.{step}.convs.0", 2 * width, width, self.kernels[level], True)
            head, ones = f"decoder.seg_layers.{step}", (1,) * self.dims
            made[f"{head}.weight"] = torch.randn(self.labels, width, *ones, generator=random)
            made[f"{head}.bias"] = torch.randn(self.labels, generator=random) * 0.1
        twice = {f"decoder.{k}": v for k, v in made.items() if k.startswith("encoder.")}
        return made | twice

    def says(self, state: State, image: Tensor) -> Tensor:
        """Logits of ``image (B, C, *space)``, by torch's functions."""
        conv = (functional.conv2d, functional.conv3d)[self.dims - 2]
        back = (functional.conv_transpose2d, functional.conv_transpose3d)[self.dims - 2]
        mean = (functional.avg_pool2d, functional.avg_pool3d)[self.dims - 2]

        def layer(name: str, x: Tensor, stride: tuple[int, ...], leaks: bool = True) -> Tensor:
            weight, bias = state[f"{name}.conv.weight"], state.get(f"{name}.conv.bias")
            padding = [side // 2 for side in weight.shape[2:]]
            x = conv(x, weight, bias, stride=stride, padding=padding)
            parts = (state[f"{name}.norm.{part}"] for part in ("weight", "bias"))
            x = functional.instance_norm(x, None, None, *parts)
            return functional.leaky_relu(x, 0.01) if leaks else x

        ones = (1,) * self.dims
        if self.residual:
            image = layer("encoder.stem.convs.0", image, ones)
        levels = []
        for level, stride in enumerate(self.strides):
            for block in range(self.blocks[level]):
                step = stride if block == 0 else ones
                if not self.residual:
                    image = layer(f"encoder.stages.{level}.0.convs.{block}", image, step)
                    continue
                name = f"encoder.stages.{level}.blocks.{block}"
                skip = mean(image, step, step) if max(step) > 1 else image
                for place in (0, 1):
                    if f"{name}.skip.{place}.conv.weight" in state:
                        skip = layer(f"{name}.skip.{place}", skip, ones, leaks=False)
                inner = layer(f"{name}.conv1", image, step)
                inner = layer(f"{name}.conv2", inner, ones, leaks=False)
                image = functional.leaky_relu(inner + skip, 0.01)
            levels.append(image)
        for step, skip in enumerate(levels[-2::-1]):
            name, stride = f"decoder.transpconvs.{step}", self.strides[-1 - step]
            up = back(image, state[f"{name}.weight"], state[f"{name}.bias"], stride=stride)
            image = layer(f"decoder.stages.{step}.convs.0", torch.cat([up, skip], 1), ones)
        head = f"decoder.seg_layers.{len(levels) - 2}"
        return conv(image, state[f"{head}.weight"], state[f"{head}.bias"])


@dataclass(frozen=True)
class Folder:
    """A trained model as nnU-Net leaves it, and its answers."""

    model: Model
    patch: tuple[int, ...]
    spacing: tuple[float, ...]
    schemes: tuple[str, ...] = ("ZScoreNormalization",)
    masked: tuple[bool, ...] = (False,)
    transposed: tuple[int, int, int] = (0, 1, 2)
    labels: dict[str, Any] = field(default_factory=lambda: {"background": 0, "a": 1, "b": 2})
    order: tuple[int, ...] | None = None
    mirror: tuple[int, ...] | None = (0, 1, 2)
    folds: tuple[int | str, ...] = (0,)
    intensities: dict[str, float] = field(
        default_factory=lambda: {
            "mean": 40.0,
            "std": 30.0,
            "percentile_00_5": -60.0,
            "percentile_99_5": 120.0,
        }
    )
    configuration: str = "3d_fullres"
    previous: str | None = None
    seed: int = 0

    def states(self) -> list[State]:
        return [self.model.drawn(self.seed + number) for number in range(len(self.folds))]

    def plans(self) -> dict[str, Any]:
        count = len(self.schemes)
        kept = {"is_seg": False, "order_z": 0, "force_separate_z": None}
        chosen: dict[str, Any] = {
            "data_identifier": "plans",
            "preprocessor_name": "DefaultPreprocessor",
            "batch_size": 2,
            "patch_size": list(self.patch),
            "spacing": list(self.spacing),
            "normalization_schemes": list(self.schemes),
            "use_mask_for_norm": list(self.masked),
            "resampling_fn_data": RESAMPLED,
            "resampling_fn_data_kwargs": {**kept, "order": 3},
            "resampling_fn_seg": RESAMPLED,
            "resampling_fn_seg_kwargs": {**kept, "is_seg": True, "order": 1},
            "resampling_fn_probabilities": RESAMPLED,
            "resampling_fn_probabilities_kwargs": {**kept, "order": 1},
            "architecture": self.model.architecture(),
        }
        if self.previous:
            chosen["previous_stage"] = self.previous
        backward = [self.transposed.index(axis) for axis in range(3)]
        return {
            "dataset_name": "Dataset999_Tiny",
            "plans_name": "nnUNetPlans",
            "image_reader_writer": "SimpleITKIO",
            "transpose_forward": list(self.transposed),
            "transpose_backward": backward,
            "label_manager": "LabelManager",
            "foreground_intensity_properties_per_channel": {
                str(channel): self.intensities for channel in range(count)
            },
            "configurations": {self.configuration: chosen},
        }

    def written(self, place: Path) -> Path:
        """The folder on disk, its checkpoints as nnU-Net's trainer saves them."""
        folder = place / f"{TRAINER}__nnUNetPlans__{self.configuration}"
        folder.mkdir(parents=True)
        plans, channels = self.plans(), {str(c): f"c{c}" for c in range(len(self.schemes))}
        dataset: dict[str, Any] = {
            "channel_names": channels,
            "labels": self.labels,
            "numTraining": 4,
            "file_ending": ".nii.gz",
        }
        if self.order:
            dataset["regions_class_order"] = list(self.order)
        (folder / "plans.json").write_text(json.dumps(plans))
        (folder / "dataset.json").write_text(json.dumps(dataset))
        for fold, state in zip(self.folds, self.states(), strict=True):
            (folder / f"fold_{fold}").mkdir()
            held = {
                "network_weights": state,
                "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01}]},
                "grad_scaler_state": None,
                "logging": {"mean_fg_dice": [np.float64(0.5), np.float32(0.25), np.int64(3)]},
                "_best_ema": np.float64(0.5),
                "current_epoch": 4,
                "init_args": {
                    "plans": plans,
                    "configuration": self.configuration,
                    "fold": fold,
                    "dataset_json": dataset,
                    "device": torch.device("cpu"),
                },
                "trainer_name": TRAINER,
                "inference_allowed_mirroring_axes": self.mirror,
            }
            torch.save(held, folder / f"fold_{fold}" / "checkpoint_final.pth")
        return folder

    def mask_of(
        self,
        image: np.ndarray,
        spacing: tuple[float, float, float],
        told: np.ndarray | None = None,
    ) -> np.ndarray:
        """The mask of ``image (C, Z, Y, X)``, axes as SimpleITK reads a file, by nnU-Net's rules.

        ``told`` is the mask of the stage before.
        """
        data = image.transpose(0, *(1 + axis for axis in self.transposed)).astype(np.float32)
        before = [spacing[axis] for axis in self.transposed]
        nonzero = binary_fill_holes((data != 0).any(0))
        rows = [np.flatnonzero(nonzero.any((*{0, 1, 2} - {axis},))) for axis in range(3)]
        box = tuple(slice(some[0], some[-1] + 1) for some in rows)
        shape, data, nonzero = data.shape[1:], data[(slice(None), *box)], nonzero[box]
        wanted = [before[0], *self.spacing] if len(self.spacing) == 2 else list(self.spacing)
        sides = zip(before, wanted, data.shape[1:], strict=True)
        fine = [int(round(b / w * n)) for b, w, n in sides]  # noqa: RUF046
        data = np.stack([self._normalised(c, one, nonzero) for c, one in enumerate(data)])
        seen = np.stack([resampled(one, fine, before, wanted, 3) for one in data])
        if told is not None:
            other = told.transpose(self.transposed)[box]
            hot = [(other == value).astype(float) for value in range(np.max(other) + 1)]
            shares = np.stack([resampled(one, fine, before, wanted, 1) for one in hot])
            winner = shares.argmax(0)
            values = [v for name, v in self.labels.items() if name not in ("background", "ignore")]
            seen = np.concatenate([seen, np.stack([winner == value for value in values])])
        logits = np.mean([self._slid(state, seen) for state in self.states()], 0)
        logits = np.stack([resampled(c, nonzero.shape, wanted, before, 1) for c in logits])
        mask = np.zeros(shape, np.uint8)
        mask[box] = self._decided(logits)
        return mask.transpose([self.transposed.index(axis) for axis in range(3)])

    def _normalised(self, channel: int, one: np.ndarray, nonzero: np.ndarray) -> np.ndarray:
        scheme = self.schemes[channel]
        if scheme == "CTNormalization":
            found = self.intensities
            cut = np.clip(one, found["percentile_00_5"], found["percentile_99_5"])
            return (cut - found["mean"]) / found["std"]
        if scheme == "RescaleTo01Normalization":
            return (one - one.min()) / np.ptp(one)
        if scheme == "RGBTo01Normalization":
            return one / 255
        if scheme == "NoNormalization":
            return one
        inside = nonzero if self.masked[channel] else np.ones_like(nonzero)
        out = one.astype(np.float64)
        out[inside] = (out[inside] - out[inside].mean()) / max(out[inside].std(), 1e-8)
        return out

    def _slid(self, state: State, seen: np.ndarray) -> np.ndarray:
        """Logits of ``seen (C, Z, Y, X)``, window by window."""
        flat = self.model.dims == 2
        patch = (1, *self.patch) if flat else self.patch
        missing = [max(0, p - n) for p, n in zip(patch, seen.shape[1:], strict=True)]
        wide = np.pad(seen, [(0, 0), *((m // 2, m - m // 2) for m in missing)])
        sides = zip(missing, seen.shape[1:], strict=True)
        inner = tuple(slice(m // 2, m // 2 + n) for m, n in sides)
        unit = np.zeros(self.patch)
        unit[tuple(side // 2 for side in self.patch)] = 1
        weight = gaussian_filter(unit, [side / 8 for side in self.patch], mode="constant")
        weight = weight.reshape(patch) / weight.max()
        total = np.zeros((self.model.labels, *wide.shape[1:]))
        count = np.zeros(wide.shape[1:])
        starts = [steps(n, p) for n, p in zip(wide.shape[1:], patch, strict=True)]
        for corner in product(*starts):
            place = tuple(slice(c, c + p) for c, p in zip(corner, patch, strict=True))
            window = torch.from_numpy(wide[(slice(None), *place)]).float()[None]
            window = window[:, :, 0] if flat else window
            said = self._mirrored(state, window)
            total[(slice(None), *place)] += (said[:, None] if flat else said) * weight
            count[place] += weight
        return (total / count)[(slice(None), *inner)]

    def _mirrored(self, state: State, window: Tensor) -> np.ndarray:
        axes = self.mirror or ()
        flips = list(chain.from_iterable(combinations(axes, n) for n in range(len(axes) + 1)))
        said = []
        for flip in flips:
            dims = [2 + axis for axis in flip]
            said.append(self.model.says(state, window.flip(dims)).flip(dims))
        return torch.stack(said).mean(0)[0].numpy()

    def _decided(self, logits: np.ndarray) -> np.ndarray:
        if self.order is None:
            return logits.argmax(0)
        mask = np.zeros(logits.shape[1:], np.uint8)
        for logit, value in zip(logits, self.order, strict=True):
            mask[logit > 0] = value
        return mask


def steps(length: int, window: int) -> list[int]:
    """Where windows begin that are half a window apart at most."""
    count = int(np.ceil((length - window) / (window * 0.5))) + 1
    apart = (length - window) / (count - 1) if count > 1 else 0
    return [int(np.round(apart * number)) for number in range(count)]


def resampled(image: np.ndarray, shape: Any, before: Any, after: Any, order: int) -> np.ndarray:
    """``image (Z, Y, X)`` at another shape; across a coarse axis slice by slice."""
    if tuple(image.shape) == tuple(shape):
        return image
    coarse = None
    for sides in (np.asarray(before), np.asarray(after)):
        if sides.max() / sides.min() > 3:
            found = np.flatnonzero(sides == sides.max())
            coarse = int(found[0]) if len(found) == 1 else None
            break
    image = image.astype(np.float64)
    if coarse is None:
        return resize(image, shape, order, mode="edge", anti_aliasing=False)
    flat = [side for axis, side in enumerate(shape) if axis != coarse]
    slices = np.moveaxis(image, coarse, 0)
    done = np.stack([resize(s, flat, order, mode="edge", anti_aliasing=False) for s in slices])
    scale = len(done) / shape[coarse]
    at = scale * (np.arange(shape[coarse]) + 0.5) - 0.5
    chosen = map_coordinates(np.arange(len(done)), [at], order=0, mode="nearest")
    return np.moveaxis(done[chosen], 0, coarse)
