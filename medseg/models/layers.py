"""The small parts of every network, in 2D and 3D: sides and strides per axis, sizes kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.functional import batch_norm, interpolate, pad

PerAxis: TypeAlias = int | Sequence[int]
NormKind: TypeAlias = Literal["batch", "instance", "group", "none"]
ActKind: TypeAlias = Literal["relu", "leaky_relu", "gelu", "none"]

_CONVS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: dict[int, type[nn.Module]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_BATCH_NORMS: dict[int, type[nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_INSTANCE_NORMS: dict[int, type[nn.Module]] = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
_MAX_POOLS: dict[int, type[nn.Module]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
_MEAN_POOLS: dict[int, type[nn.Module]] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
_DROPOUTS: dict[int, type[nn.Module]] = {2: nn.Dropout2d, 3: nn.Dropout3d}
_LINEAR = {2: "bilinear", 3: "trilinear"}


def axes(dims: int, value: PerAxis) -> tuple[int, ...]:
    """One number for every axis, or those given. Raises ValueError for another count."""
    numbers = (value,) * dims if isinstance(value, int) else tuple(value)
    if len(numbers) != dims:
        raise ValueError(f"wants one number or {dims}, not {numbers}")
    return numbers


def conv(  # noqa: PLR0913
    dims: int,
    inputs: int,
    outputs: int,
    kernel: PerAxis = 3,
    *,
    stride: PerAxis = 1,
    dilation: PerAxis = 1,
    groups: int = 1,
    bias: bool = True,
    padding: PerAxis | None = None,
) -> nn.Module:
    """A convolution; unless ``padding`` says otherwise, stride 1 keeps the size."""
    kernel, dilation = axes(dims, kernel), axes(dims, dilation)
    if padding is None:
        padding = [(k - 1) * d // 2 for k, d in zip(kernel, dilation, strict=True)]
    return _CONVS[dims](
        inputs,
        outputs,
        kernel,
        stride=axes(dims, stride),
        padding=axes(dims, padding),
        dilation=dilation,
        groups=groups,
        bias=bias,
    )


def transposed(
    dims: int,
    inputs: int,
    outputs: int,
    stride: PerAxis = 2,
    *,
    kernel: PerAxis | None = None,
    bias: bool = True,
) -> nn.Module:
    """Up-sampling by exactly ``stride``, by a transposed convolution.

    Its kernel is its stride, without overlap, unless an odd ``kernel`` is given.
    """
    stride = axes(dims, stride)
    if kernel is None:
        return _TRANSPOSED[dims](inputs, outputs, stride, stride=stride, bias=bias)
    kernel = axes(dims, kernel)
    return _TRANSPOSED[dims](
        inputs,
        outputs,
        kernel,
        stride=stride,
        padding=[side // 2 for side in kernel],
        output_padding=[step - 1 for step in stride],
        bias=bias,
    )


def norm(dims: int, channels: int, kind: NormKind = "batch", **options: Any) -> nn.Module:
    """A normalisation with weights of its own; ``group`` has up to 32 groups."""
    if kind == "none":
        return nn.Identity()
    if kind == "group":
        groups = next(g for g in (32, 16, 8, 4, 2, 1) if channels % g == 0)
        return nn.GroupNorm(groups, channels, **options)
    if kind == "batch":
        return _BATCH_NORMS[dims](channels, **options)
    return _INSTANCE_NORMS[dims](channels, affine=True, **options)


def act(kind: ActKind = "relu") -> nn.Module:
    """An activation; the leak is nnU-Net's 0.01."""
    if kind == "relu":
        return nn.ReLU(inplace=True)
    if kind == "leaky_relu":
        return nn.LeakyReLU(0.01, inplace=True)
    return nn.GELU() if kind == "gelu" else nn.Identity()


class ConvNormAct(nn.Sequential):
    """Convolution, normalisation, activation: ``.conv``, ``.norm`` and ``.act``."""

    def __init__(  # noqa: PLR0913
        self,
        dims: int,
        inputs: int,
        outputs: int,
        kernel: PerAxis = 3,
        *,
        norm_kind: NormKind = "batch",
        act_kind: ActKind = "relu",
        bias: bool = False,
        **options: Any,
    ) -> None:
        super().__init__()
        self.add_module("conv", conv(dims, inputs, outputs, kernel, bias=bias, **options))
        self.add_module("norm", norm(dims, outputs, norm_kind))
        self.add_module("act", act(act_kind))


class Summed(nn.ModuleList):
    """Branches on one map, summed."""

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, *space) to what each branch gives of it, (B, C', *space)."""
        first, *others = self
        total: Tensor = first(features)
        for branch in others:
            total = total + branch(features)
        return total


def max_pool(
    dims: int, kernel: PerAxis = 2, stride: PerAxis | None = None, **options: Any
) -> nn.Module:
    """The largest of each ``kernel``; the stride is the kernel unless given."""
    kernel = axes(dims, kernel)
    return _MAX_POOLS[dims](kernel, kernel if stride is None else axes(dims, stride), **options)


def mean_pool(
    dims: int, kernel: PerAxis = 2, stride: PerAxis | None = None, **options: Any
) -> nn.Module:
    """The mean of each ``kernel``; the stride is the kernel unless given."""
    kernel = axes(dims, kernel)
    return _MEAN_POOLS[dims](kernel, kernel if stride is None else axes(dims, stride), **options)


def dropout(dims: int, share: float) -> nn.Module:
    """Leaves out whole channels."""
    return _DROPOUTS[dims](share)


def global_mean(features: Tensor) -> Tensor:
    """``features (B, C, *space)`` to (B, C, 1, ...)."""
    return features.mean(dim=tuple(range(2, features.ndim)), keepdim=True)


def resized(features: Tensor, size: Sequence[int], *, align_corners: bool = False) -> Tensor:
    """``features (B, C, *space)`` at another size, bilinear or trilinear."""
    if tuple(features.shape[2:]) == tuple(size):
        return features
    mode = _LINEAR[features.ndim - 2]
    return interpolate(features, size=tuple(size), mode=mode, align_corners=align_corners)


def resized_nearest(features: Tensor, size: Sequence[int]) -> Tensor:
    """``features (B, C, *space)`` at another size, by nearest neighbour."""
    return interpolate(features, size=tuple(size), mode="nearest")


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of (B, C, *space)."""

    def forward(self, features: Tensor) -> Tensor:
        """Each place normalised for itself."""
        return super().forward(features.movedim(1, -1)).movedim(-1, 1)


class DropPath(nn.Module):
    """Leaves out a branch for some samples of a batch (stochastic depth, Huang et al. 2016)."""

    def __init__(self, share: float = 0.0) -> None:
        super().__init__()
        self.share = share

    def forward(self, branch: Tensor) -> Tensor:
        """The branch, zero where it is left out, the more where it stays."""
        if not (self.training and self.share):
            return branch
        keep = 1 - self.share
        drawn = torch.rand((len(branch), *(1,) * (branch.ndim - 1)), device=branch.device) < keep
        return branch * drawn.to(branch.dtype) / keep


class PooledBatchNorm(nn.BatchNorm1d):
    """Batch normalisation of features (B, C, 1, ...) that were pooled to one voxel.

    A single one has no deviation: in training it is normalised by the running values instead.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Any number of axes."""

    def forward(self, input: Tensor) -> Tensor:
        """Each channel normalised over the batch."""
        if not (self.training and input.numel() == self.num_features):
            return super().forward(input)
        mean, var = self.running_mean, self.running_var
        return batch_norm(input, mean, var, self.weight, self.bias, False, 0.0, self.eps)


def pooled_norm(channels: int, kind: NormKind = "batch") -> nn.Module:
    """A normalisation of (B, C, 1, ...); without a batch it is over the channels of a sample."""
    if kind == "batch":
        return PooledBatchNorm(channels)
    return nn.Identity() if kind == "none" else nn.GroupNorm(1, channels)


class PooledConvNormAct(nn.Sequential):
    """ConvNormAct of one tap for features (B, C, 1, ...) that were pooled to one voxel."""

    def __init__(
        self,
        dims: int,
        inputs: int,
        outputs: int,
        norm_kind: NormKind = "batch",
        act_kind: ActKind = "relu",
    ) -> None:
        super().__init__()
        self.add_module("conv", conv(dims, inputs, outputs, 1, bias=False))
        self.add_module("norm", pooled_norm(outputs, norm_kind))
        self.add_module("act", act(act_kind))


def draw_for_relu(module: nn.Module) -> None:
    """Draw all convolutions as He et al. 2015 do, by what each number reaches; no biases."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class SmoothPool(nn.Module):
    """The mean of three voxels along each axis, zeros beyond the borders, at a stride."""

    def __init__(self, dims: int, stride: PerAxis = 2) -> None:
        super().__init__()
        # The pool's own padding is refused in 3D where the features are smaller than the kernel.
        self.border = (1, 1) * dims
        self.pool = mean_pool(dims, 3, stride)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, *space) to (B, C, *coarser)."""
        out: Tensor = self.pool(pad(features, self.border))
        return out
