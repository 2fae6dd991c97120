"""MONAI's transforms of a bundle as steps of medseg, by a fixed table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from medseg.pipeline.bundle_config import Config, Part

Step = dict[str, Any] | str
Arguments = dict[str, Any]
_READING = {
    *("LoadImage", "EnsureChannelFirst", "EnsureType", "ToTensor", "ToDevice", "AddChannel"),
    *("FromMetaTensor", "Identity"),
}
"""What medseg's reader has done by then."""
_WHERE = ("keys", "allow_missing_keys", "dtype", "lazy", "meta_keys", "meta_key_postfix")
_MODES = {"bilinear": "linear", "nearest": "nearest", 0: "nearest", 1: "linear", 3: "cubic"}


def preprocessing(config: Config) -> list[Step]:
    """The steps that a config's ``preprocessing`` means for the image."""
    steps = [_step(config, part) for part in _parts(config, "preprocessing")]
    return [step for step in steps if step is not None]


def postprocessing(config: Config, labels: list[str]) -> list[Step]:
    """The steps after the decision, which is the greatest probability on the scan's own grid."""
    if not config.has("postprocessing"):
        return []
    steps: list[Step] = []
    decided = False
    for part in _parts(config, "postprocessing"):
        name, said = _bare(part.target), part.arguments
        if name == "Invert" and decided:
            raise config.foreign(part.at, "comes before AsDiscrete here")
        if name == "AsDiscrete":
            decided = True
            if not said.get("argmax"):
                raise config.foreign(part.at, "takes the greatest (argmax: true) here")
        elif name == "Activations":
            if not said.get("softmax"):
                raise config.foreign(part.at, "is a softmax here")
        elif name == "KeepLargestConnectedComponent":
            steps.append(_largest(config, part, labels))
        elif name not in ("Invert", "EnsureType", "SaveImage", "ToTensor", "CopyItems"):
            raise config.unsafe(part.at, f"{part.target} (medseg has no word for it)")
    return steps


def _parts(config: Config, key: str) -> list[Part]:
    found = config.value(key)
    if isinstance(found, Part) and found.target == "Compose":
        found = found.arguments.get("transforms")
    if not isinstance(found, list):
        raise config.foreign(key, "is a Compose of transforms, or a list of them")
    for place, part in enumerate(found):
        if not isinstance(part, Part):
            raise config.foreign(f"{key}::{place}", "is a mapping with a _target_")
    return found


def _bare(target: str) -> str:
    """The transform behind a dictionary transform's name."""
    for ending in ("Dict", "D", "d"):
        if target.endswith(ending):
            return target.removesuffix(ending)
    return target


def _step(config: Config, part: Part) -> Step | None:
    name = _bare(part.target)
    keys = part.arguments.get("keys", "image")
    keys = [keys] if isinstance(keys, str) else keys
    if "image" not in keys or name in _READING:
        return None
    if name not in _STEPS:
        raise config.unsafe(f"{part.at}::_target_", f"{part.target} (medseg has no word for it)")
    said = part.arguments.but(*_WHERE)
    try:
        step = _STEPS[name](said)
    except (_NotDoneError, KeyError) as error:
        raise config.foreign(part.at, f"{part.target} with {error} is not done here") from None
    if said:
        left = ", ".join(said)
        raise config.foreign(part.at, f"{part.target} has no option {left} here")
    return step


class _NotDoneError(Exception):
    """An argument's value that no step of medseg has."""


def _only(said: Arguments, **defaults: Any) -> None:
    """Take arguments out that say what they say by default, and refuse others."""
    for name, default in defaults.items():
        if said.pop(name, default) != default:
            raise _NotDoneError(name)


def _orientation(said: Arguments) -> Step:
    _only(said, as_closest_canonical=False, labels=None)
    return {"orientation": {"axcodes": said.pop("axcodes")}}


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) else value


def _spacing(said: Arguments) -> Step:
    _only(said, diagonal=False, scale_extent=False, recompute_affine=False)
    _only(said, min_pixdim=None, max_pixdim=None, ensure_same_shape=True)
    said.pop("align_corners", None)
    mode, border = _first(said.pop("mode", "bilinear")), _first(said.pop("padding_mode", "border"))
    if mode not in _MODES or border != "border":
        raise _NotDoneError(f"mode {mode!r} and padding_mode {border!r}")
    pixdim = said.pop("pixdim")
    pixdim = list(pixdim) if isinstance(pixdim, list) else [pixdim] * 3
    return {"spacing": {"pixdim": pixdim, "mode": _MODES[mode], "align": "first"}}


def _range(said: Arguments) -> Step:
    options = {name: said.pop(name) for name in ("a_min", "a_max", "b_min", "b_max")}
    return {"scale_intensity_range": {**options, "clip": bool(said.pop("clip", False))}}


def _percentiles(said: Arguments) -> Step:
    options = {name: said.pop(name) for name in ("lower", "upper", "b_min", "b_max")}
    flags = {name: bool(said.pop(name, False)) for name in ("clip", "relative", "channel_wise")}
    return {"scale_intensity_range_percentiles": {**options, **flags}}


def _scaled(said: Arguments) -> Step:
    _only(said, factor=None)
    low, high = said.pop("minv", 0.0), said.pop("maxv", 1.0)
    wise = bool(said.pop("channel_wise", False))
    options = {"lower": 0, "upper": 100, "b_min": low, "b_max": high, "channel_wise": wise}
    return {"scale_intensity_range_percentiles": options}


def _normalised(said: Arguments) -> Step:
    options = {
        "subtrahend": said.pop("subtrahend", None),
        "divisor": said.pop("divisor", None),
        "nonzero": bool(said.pop("nonzero", False)),
        "channel_wise": bool(said.pop("channel_wise", False)),
    }
    return {"normalize_intensity": options}


def _foreground(said: Arguments) -> Step:
    said.pop("source_key", None)
    for name in ("start_coord_key", "end_coord_key"):
        said.pop(name, None)
    _only(said, k_divisible=1, mode="constant", allow_smaller=True)
    channels, margin = said.pop("channel_indices", None), said.pop("margin", 0)
    channels = [channels] if isinstance(channels, int) else channels
    return {"crop_foreground": {"margin": margin, "channels": channels}}


def _threshold(said: Arguments) -> Step:
    edge, above, fill = said.pop("threshold"), said.pop("above", True), said.pop("cval", 0.0)
    if fill != edge:
        raise _NotDoneError("a cval other than the threshold")
    return {"clip": {"minimum" if above else "maximum": edge}}


def _largest(config: Config, part: Part, labels: list[str]) -> Step:
    said = part.arguments
    if said.get("num_components", 1) != 1 or said.get("connectivity") not in (None, 3):
        raise config.foreign(part.at, "keeps one component, joined by corners too, here")
    applied = said.get("applied_labels")
    if applied is None:
        return "keep_largest"
    values = [applied] if isinstance(applied, int) else applied
    if not isinstance(values, list) or not all(
        isinstance(value, int) and 1 <= value <= len(labels) for value in values
    ):
        raise config.foreign(f"{part.at}::applied_labels", f"are among 1 to {len(labels)}")
    return {"keep_largest": {"labels": [labels[value - 1] for value in values]}}


_STEPS: Mapping[str, Callable[[Arguments], Step]] = {
    "Orientation": _orientation,
    "Spacing": _spacing,
    "ScaleIntensityRange": _range,
    "ScaleIntensityRangePercentiles": _percentiles,
    "ScaleIntensity": _scaled,
    "NormalizeIntensity": _normalised,
    "CropForeground": _foreground,
    "ThresholdIntensity": _threshold,
}
