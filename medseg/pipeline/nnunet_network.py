"""The networks that nnU-Net's plans name, in the words of medseg's ``unet``."""

from __future__ import annotations

from typing import Any

from medseg.pipeline.foreign import Foreign

_FORMS = {"PlainConvUNet": "plain", "ResidualEncoderUNet": "residual"}
_NORMS = {"InstanceNorm": "instance", "BatchNorm": "batch"}
_KNOWN = {
    *("n_stages", "features_per_stage", "conv_op", "kernel_sizes", "strides", "n_conv_per_stage"),
    *("n_blocks_per_stage", "n_conv_per_stage_decoder", "conv_bias", "norm_op", "norm_op_kwargs"),
    *("dropout_op", "dropout_op_kwargs", "nonlin", "nonlin_kwargs", "deep_supervision"),
    *("nonlin_first", "stem_channels"),
}


def network(configuration: Foreign, dims: int) -> dict[str, Any]:
    """The network of a configuration, whose plan is in the new form or in the old one.

    Raises ModelError E_FOREIGN_MODEL where it is none of the two, or has other parts.
    """
    new = configuration.has("architecture")
    form, parts = _new(configuration) if new else _old(configuration)
    levels = len(parts["blocks"])
    strides = parts["strides"]
    if levels < 2 or set(_axes(strides[0], dims)) != {1}:
        key = "architecture.arch_kwargs.strides" if new else "pool_op_kernel_sizes"
        raise configuration.refused(key, "begins with 1 and has two levels or more")
    return {
        "name": "unet",
        "spatial_dims": dims,
        "form": form,
        "widths": parts["widths"],
        "strides": [_axes(one, dims) for one in strides[1:]],
        "kernels": [_axes(one, dims) for one in parts["kernels"]],
        "blocks": parts["blocks"],
        # nnU-Net counts the decoder's steps from the lowest level.
        "decoder_blocks": parts["decoder_blocks"][::-1],
        "norm": parts["norm"],
        "conv_bias": parts["conv_bias"],
        "deep_supervision": levels - 2,
    }


def _old(said: Foreign) -> tuple[str, dict[str, Any]]:
    name = said.one_of("UNet_class_name", *_FORMS)
    blocks = said.listed("n_conv_per_stage_encoder")
    base, most = said.get("UNet_base_num_features"), said.get("unet_max_num_features")
    if not isinstance(base, int) or not isinstance(most, int):
        raise said.refused("UNet_base_num_features", "and unet_max_num_features are numbers")
    parts: dict[str, Any] = {
        "widths": [min(base * 2**level, most) for level in range(len(blocks))],
        "strides": said.listed("pool_op_kernel_sizes"),
        "kernels": said.listed("conv_kernel_sizes"),
        "blocks": blocks,
        "decoder_blocks": said.listed("n_conv_per_stage_decoder"),
        "norm": "instance",
        "conv_bias": True,
    }
    return _FORMS[name], parts


def _new(configuration: Foreign) -> tuple[str, dict[str, Any]]:
    architecture = configuration.inner("architecture")
    name = architecture.text("network_class_name").rpartition(".")[2]
    if name not in _FORMS:
        raise architecture.refused("network_class_name", f"is one of {', '.join(_FORMS)} here")
    said = architecture.inner("arch_kwargs")
    for key in said.said:
        if key not in _KNOWN:
            raise said.refused(key, "is an option that medseg's network has not")
    levels = said.get("n_stages")
    if not isinstance(levels, int) or not 2 <= levels <= 20:
        raise said.refused("n_stages", "is a number of levels")
    _check_layers(said)
    counted = "n_conv_per_stage" if _FORMS[name] == "plain" else "n_blocks_per_stage"
    parts: dict[str, Any] = {
        "widths": _each(said, "features_per_stage", levels),
        "strides": _each(said, "strides", levels),
        "kernels": _each(said, "kernel_sizes", levels),
        "blocks": _each(said, counted, levels),
        "decoder_blocks": _each(said, "n_conv_per_stage_decoder", levels - 1),
        "norm": _norm(said),
        "conv_bias": bool(said.get("conv_bias", False)),
    }
    said.one_of("stem_channels", None, parts["widths"][0])
    return _FORMS[name], parts


def _each(said: Foreign, key: str, count: int) -> list[Any]:
    found = said.get(key)
    each = found if isinstance(found, list) else [found] * count
    if len(each) != count or not all(isinstance(one, int | list) for one in each):
        raise said.refused(key, f"is a number, or {count} entries")
    return each


def _check_layers(said: Foreign) -> None:
    said.one_of("nonlin_first", False, default=False)
    if str(said.get("nonlin")).rpartition(".")[2] != "LeakyReLU":
        raise said.refused("nonlin", "is torch.nn.LeakyReLU here")
    leaks = said.get("nonlin_kwargs") or {}
    if not isinstance(leaks, dict) or leaks.get("negative_slope", 0.01) != 0.01:
        raise said.refused("nonlin_kwargs", "leaves negative_slope at 0.01 here")
    norms = said.get("norm_op_kwargs") or {}
    usual = isinstance(norms, dict) and norms.get("eps", 1e-5) == 1e-5 and norms.get("affine")
    if said.get("norm_op") is not None and not usual:
        raise said.refused("norm_op_kwargs", "has eps 1e-05 and affine true here")


def _norm(said: Foreign) -> str:
    if said.get("norm_op") is None:
        return "none"
    name = said.text("norm_op").rpartition(".")[2]
    if name[:-2] not in _NORMS or name[-2:] not in ("2d", "3d"):
        raise said.refused("norm_op", "is an instance or a batch normalisation here")
    return _NORMS[name[:-2]]


def _axes(entry: Any, dims: int) -> list[int]:
    return entry if isinstance(entry, list) else [entry] * dims
