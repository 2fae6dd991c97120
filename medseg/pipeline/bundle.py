"""MONAI bundles, said in medseg's own words; read, and never run.

From a bundle's config come its network (``network_def``), its ``preprocessing``, its ``inferer``
and its ``postprocessing``; from its metadata the labels and channels; from ``models`` the weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg.errors import ModelError
from medseg.models.monai_network import NETWORKS
from medseg.pipeline.bundle_config import Config, Part
from medseg.pipeline.bundle_steps import postprocessing, preprocessing
from medseg.pipeline.foreign import Foreign, read_json
from medseg.pipeline.source import Source

METADATA = Path("configs/metadata.json")
_CONFIGS = ("inference.json", "inference.yaml", "inference.yml")
_WEIGHTS = Path("models/model.pt")
_HOW_FAST = ("sw_device", "device", "progress", "cpu_thresh", "cache_roi_weight_map")
"""Arguments of an inferer that say where and how fast, and not what."""


def bundle_config(folder: Path) -> Path | None:
    """The config by which a folder's MONAI bundle is run, None for a folder that is no bundle."""
    if not (folder / METADATA).is_file():
        return None
    found = [folder / "configs" / name for name in _CONFIGS]
    return next((path for path in found if path.is_file()), None)


def translated_bundle(path: Path) -> Source:
    """The pipeline that does what a bundle's config says.

    Raises ModelError with file and key: E_UNSAFE for what MONAI would run, E_FOREIGN_MODEL.
    """
    folder = path.parent.parent
    config = Config.read(path)
    metadata = Foreign(read_json(folder / METADATA), folder / METADATA)
    if not (folder / _WEIGHTS).is_file():
        raise ModelError("E_FOREIGN_MODEL", f"has no {_WEIGHTS}, a state dict", folder)
    labels, channels = _labels(metadata), _channels(metadata)
    model = _network(config, len(labels) + 1, max(1, len(channels)))
    weights = {"path": str(_WEIGHTS), "format": "monai"}
    step, inner = _inferer(config, model["spatial_dims"])
    said = {
        "name": str(metadata.get("name") or folder.resolve().name).replace("/", "_"),
        "description": str(metadata.get("description") or "")[:500],
        "labels": labels,
        **({"input": {"channels": channels}} if len(channels) > 1 else {}),
        "preprocess": preprocessing(config),
        "inference": [{step: {"model": model, "weights": weights, **inner}}],
        "postprocess": postprocessing(config, list(labels)),
    }
    return Source(str(path), json.dumps(said, indent=1, ensure_ascii=False), folder)


def _network(config: Config, labels: int, channels: int) -> dict[str, Any]:
    key = "network_def" if config.has("network_def") else "network"
    found = config.value(key)
    if not isinstance(found, Part):
        raise config.foreign(key, "is a mapping with a _target_")
    if found.target not in NETWORKS:
        known = ", ".join(NETWORKS)
        raise config.unsafe(f"{found.at}::_target_", f"{found.target} (known are {known})")
    options = found.arguments.but()
    dims = options.pop("spatial_dims", 3)
    for name, count in (("in_channels", channels), ("out_channels", labels)):
        if (said := options.pop(name, count)) != count:
            told = f"is {said}, and the metadata speak of {count}"
            raise config.foreign(f"{found.at}::{name}", told)
    return {"name": "monai", "spatial_dims": dims, "network": found.target, **options}


def _inferer(config: Config, dims: Any) -> tuple[str, dict[str, Any]]:
    found = config.value("inferer")
    known = ("SlidingWindowInferer", "SliceInferer")
    if not isinstance(found, Part) or found.target not in known:
        raise config.foreign("inferer", f"is one of {' and '.join(known)} here")
    options = found.arguments.but(*_HOW_FAST)
    window = options.pop("roi_size", None)
    window = [window] * int(dims) if isinstance(window, int) else window
    wanted = 2 if found.target == "SliceInferer" else 3
    whole = isinstance(window, list) and all(isinstance(s, int) and s > 0 for s in window)
    if dims != wanted or not whole or len(window or ()) != dims:
        raise config.foreign(f"{found.at}::roi_size", f"is {wanted} numbers above 0 here")
    asked = {
        "window": window,
        "overlap": options.pop("overlap", 0.25),
        "blending": options.pop("mode", "constant"),
        "batch": options.pop("sw_batch_size", 1),
    }
    if found.target == "SliceInferer":
        asked["axes"] = [options.pop("spatial_dim", 0)]
    defaults = {
        "padding_mode": "constant",
        "cval": 0.0,
        "sigma_scale": 0.125,
        "buffer_steps": None,
        "buffer_dim": -1,
        "with_coord": False,
    }
    for name, value in options.items():
        if name not in defaults or value != defaults[name]:
            raise config.foreign(f"{found.at}::{name}", f"{value!r} is not done here")
    return ("sliding_window" if wanted == 3 else "slices"), asked


def _format(metadata: Foreign, way: str) -> Mapping[str, Any]:
    found: Any = metadata.said
    for word in f"network_data_format.{way}".split("."):
        found = found.get(word) if isinstance(found, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _numbered(found: Any) -> list[str]:
    if not isinstance(found, Mapping):
        return []
    names = [str(found.get(str(place), "")).strip() for place in range(len(found))]
    return names if all(names) else []


def _labels(metadata: Foreign) -> dict[str, int]:
    """Names of the output's channels but the first, which is the background."""
    key = "network_data_format.outputs.pred.channel_def"
    names = _numbered(_format(metadata, "outputs.pred").get("channel_def"))
    if len(names) < 2 or len(set(names)) < len(names) or names[0].lower() != "background":
        told = "names every channel once by its number, the background first"
        raise metadata.refused(key, told)
    return {name: value for value, name in enumerate(names) if value}


def _channels(metadata: Foreign) -> list[str]:
    said = _format(metadata, "inputs.image")
    names = _numbered(said.get("channel_def"))
    count = said.get("num_channels", len(names) or 1)
    if not isinstance(count, int) or not 1 <= count <= 64:
        raise metadata.refused("network_data_format.inputs.image.num_channels", "is a number")
    if len(set(names)) == count:
        return names
    return [f"channel_{place}" for place in range(count)] if count > 1 else []
