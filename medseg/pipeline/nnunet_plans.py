"""An nnU-Net plan: its configuration, and its preprocessing in medseg's words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.pipeline.foreign import Foreign, read_json

Said = dict[str, Any]
_MODES = {0: "nearest", 1: "linear", 3: "cubic"}
_READERS = {
    "SimpleITKIO": [],
    "NibabelIO": [],
    "SimpleITKIOWithReorient": ["orientation"],
    "NibabelIOWithReorient": ["orientation"],
}
"""nnU-Net's readers, all with axes as the file has them, or first turned to RAS."""


@dataclass(frozen=True)
class Plans:
    """A plan and one of its configurations, with what that inherits."""

    name: str
    whole: Foreign
    configuration: Foreign

    @staticmethod
    def read(path: Path, name: str) -> Plans:
        """The plan of a file. Raises ModelError E_FOREIGN_MODEL."""
        whole = Foreign(read_json(path), path)
        said = _inherited(whole.inner("configurations"), name, ())
        plans = Plans(name, whole, Foreign(said, path, f"configurations.{name}"))
        plans._check()
        return plans

    def _check(self) -> None:
        self.configuration.one_of("preprocessor_name", "DefaultPreprocessor")
        self.whole.one_of("label_manager", "LabelManager", default="LabelManager")
        if sorted(self.whole.listed("transpose_forward")) != [0, 1, 2]:
            raise self.whole.refused("transpose_forward", "names each of 0, 1 and 2 once")
        for key, lengths in (("patch_size", (2, 3)), ("spacing", (len(self.patch),))):
            found = self.configuration.listed(key)
            if len(found) not in lengths or not all(
                isinstance(one, int | float) and one > 0 for one in found
            ):
                wanted = "as many as patch_size" if key == "spacing" else "two or three"
                raise self.configuration.refused(key, f"is a list of {wanted} numbers above 0")

    @property
    def patch(self) -> list[int]:
        """The size of a window, in the order of the transposed axes."""
        return [int(side) for side in self.configuration.listed("patch_size")]

    @property
    def pixdim(self) -> list[float | None]:
        """The sides in mm of the voxels that the network sees; None for the scan's own."""
        sides = [float(side) for side in self.configuration.listed("spacing")]
        return [None] * (3 - len(sides)) + sides

    @property
    def previous(self) -> str | None:
        """The configuration whose mask this one is told."""
        found = self.configuration.get("previous_stage")
        return None if found is None else str(found)


def _inherited(configurations: Foreign, name: str, heirs: tuple[str, ...]) -> Said:
    if name in heirs:
        raise configurations.refused(name, "inherits from itself")
    said = configurations.mapping(name)
    above = said.get("inherits_from")
    if above is None:
        return said
    return {**_inherited(configurations, str(above), (*heirs, name)), **said}


def preprocessing(plans: Plans) -> list[Any]:
    """Steps from a scan to what the network sees, in nnU-Net's order."""
    reader = plans.whole.one_of("image_reader_writer", *_READERS, default="SimpleITKIO")
    # nnU-Net counts the axes of a file from the last one.
    order = [2 - axis for axis in plans.whole.listed("transpose_forward")]
    spacing = resampling(plans.configuration, "data")
    return [
        *_READERS[reader],
        {"transpose": {"indices": order}},
        {"crop_foreground": {"nonzero": True}},
        *_normalisation(plans),
        *([] if spacing is None else [{"spacing": {"pixdim": plans.pixdim, **spacing}}]),
    ]


def _normalisation(plans: Plans) -> list[Said]:
    schemes = plans.configuration.listed("normalization_schemes")
    masked = plans.configuration.listed("use_mask_for_norm")
    if len(masked) != len(schemes):
        raise plans.configuration.refused("use_mask_for_norm", "has one entry a channel")
    chosen = zip(schemes, masked, strict=True)
    steps = [_scheme(plans, c, name, mask) for c, (name, mask) in enumerate(chosen)]
    alone = len(schemes) == 1
    return [
        {name: options if alone else {**options, "channels": [channel]}}
        for channel, some in enumerate(steps)
        for name, options in some.items()
    ]


def _scheme(plans: Plans, channel: int, name: Any, masked: Any) -> dict[str, Said]:
    """The steps by name that normalise one channel."""
    match name:
        case "ZScoreNormalization":
            return {"normalize_foreground" if masked else "normalize_intensity": {}}
        case "CTNormalization":
            return _of_ct(plans, str(channel))
        case "NoNormalization":
            return {}
        case "RescaleTo01Normalization":
            return {"scale_intensity_range_percentiles": {"lower": 0, "upper": 100}}
        case "RGBTo01Normalization":
            return {"scale_intensity_range": {"a_min": 0, "a_max": 255}}
    known = "CTNormalization, ZScoreNormalization, NoNormalization, RescaleTo01Normalization"
    told = f"names schemes among {known} and RGBTo01Normalization"
    raise plans.configuration.refused("normalization_schemes", told)


def _of_ct(plans: Plans, channel: str) -> dict[str, Said]:
    old, new = (f"foreground_intensity_properties_{by}" for by in ("by_modality", "per_channel"))
    found = plans.whole.inner(new if plans.whole.has(new) else old).inner(channel)
    keys = ("percentile_00_5", "percentile_99_5", "mean", "std")
    for key in keys:
        if not isinstance(found.get(key), int | float):
            raise found.refused(key, "is a number")
    low, high, mean, deviation = (float(found.get(key)) for key in keys)
    return {
        "clip": {"minimum": low, "maximum": high},
        "normalize_intensity": {"subtrahend": mean, "divisor": max(deviation, 1e-8)},
    }


def resampling(configuration: Foreign, what: str) -> Said | None:
    """Options of the step ``spacing`` for ``data``, ``seg`` or ``probabilities``; None for none."""
    key = f"resampling_fn_{what}"
    kind = configuration.one_of(
        key, "resample_data_or_seg_to_shape", "resample_torch_fornnunet", "no_resampling_hack"
    )
    options = configuration.get(f"{key}_kwargs") or {}
    if not isinstance(options, Mapping):
        raise configuration.refused(f"{key}_kwargs", "is a mapping")
    if kind == "no_resampling_hack":
        return None
    by_torch = kind == "resample_torch_fornnunet"
    found = Foreign(options, configuration.path, f"{configuration.at}.{key}_kwargs")
    if by_torch:
        found.one_of("mode", "linear", default="linear")
        found.one_of("aniso_axis_mode", "nearest-exact", default="nearest-exact")
    order = 1 if by_torch else found.one_of("order", *_MODES, default=3)
    between = 0 if by_torch else found.one_of("order_z", 0, 1, default=0)
    return {"mode": _MODES[order], "align": "edges", **_apart(found, by_torch, _MODES[between])}


def _apart(options: Foreign, by_torch: bool, between: str) -> Said:
    """When thick slices are resampled one by one."""
    forced = options.one_of("force_separate_z", None, True, False, default=[False, None][by_torch])
    if forced is False:
        return {}
    above = 1.0 if forced else options.get("separate_z_anisotropy_threshold", 3)
    if not isinstance(above, int | float) or above < 1:
        raise options.refused("separate_z_anisotropy_threshold", "is a number from 1")
    return {"coarse_axis": {"above": above, "mode": between}}
