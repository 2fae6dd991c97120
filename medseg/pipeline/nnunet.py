"""nnU-Net v2 model folders, said in medseg's own words.

A folder's plans, data set description and checkpoints become the text of an ordinary pipeline:
what follows knows nothing of nnU-Net (Isensee et al. 2021, doi:10.1038/s41592-020-01008-z).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medseg.errors import ModelError
from medseg.models.checkpoint import read_torch
from medseg.pipeline.foreign import Foreign, read_json
from medseg.pipeline.nnunet_network import network
from medseg.pipeline.nnunet_plans import Plans, preprocessing, resampling
from medseg.pipeline.source import Source

PLANS, DATASET, CHECKPOINT = "plans.json", "dataset.json", "checkpoint_final.pth"


def is_nnunet(folder: Path) -> bool:
    """Whether a folder holds the description of a model of nnU-Net v2."""
    return (folder / PLANS).is_file() and (folder / DATASET).is_file()


def meant_instead(folder: Path) -> str:
    """What someone who names a folder near a model of nnU-Net may have meant, or nothing."""
    if (folder / "plans.pkl").is_file() or any(folder.glob("*/*.model.pkl")):
        return (
            "; it is a model of nnU-Net v1, whose plans are a pickle that would be run; only v2"
            " writes plans.json"
        )
    if is_nnunet(folder.parent):
        return f"; it is one fold of a model of nnU-Net v2: name the folder above, {folder.parent}"
    inner = sorted(
        {plans.parent for plans in (*folder.glob(f"*/{PLANS}"), *folder.glob(f"*/*/{PLANS}"))}
    )
    models = [str(one.relative_to(folder)) for one in inner if is_nnunet(one)]
    if not models:
        return ""
    more = f" and {len(models) - 3} more" if len(models) > 3 else ""
    return f"; models of nnU-Net v2 are in it, name one: {', '.join(models[:3])}{more}"


def translated(folder: Path) -> Source:
    """The pipeline that does what nnU-Net v2 does with a folder's model.

    Every fold with a final checkpoint is asked. Raises ModelError: E_UNSAFE where a checkpoint
    asks for code, E_FOREIGN_MODEL where something is missing or is not done here, E_CHECKPOINT.
    """
    checkpoints = _checkpoints(folder)
    about = _about(checkpoints[0])
    plans = Plans.read(folder / PLANS, about["configuration"])
    dataset = Foreign(read_json(folder / DATASET), folder / DATASET)
    step, inner = _step(plans, about["mirror"])
    weights = [{"path": str(one.relative_to(folder)), "format": "nnunet"} for one in checkpoints]
    labels, ignore = _labels(dataset)
    said = {
        "name": f"{plans.whole.text('dataset_name')}_{plans.name}",
        "description": _description(about, plans, checkpoints),
        "labels": labels,
        **({} if ignore is None else {"ignore": ignore}),
        **_input(dataset),
        "preprocess": preprocessing(plans),
        **_previous(folder, plans),
        "inference": [{step: {**inner, "weights": one}} for one in weights],
    }
    # JSON is YAML; what a person would write by hand has no other meaning.
    text = json.dumps(said, indent=1, ensure_ascii=False)
    return Source(str(folder / PLANS), text, folder)


def _checkpoints(folder: Path) -> list[Path]:
    """The final checkpoint of every fold, else that of all studies."""
    found = {
        int(path.parent.name.removeprefix("fold_")): path
        for path in folder.glob(f"fold_*/{CHECKPOINT}")
        if path.parent.name.removeprefix("fold_").isdecimal()
    }
    every = folder / "fold_all" / CHECKPOINT
    if not found and not every.is_file():
        raise ModelError("E_FOREIGN_MODEL", f"has no fold_*/{CHECKPOINT}", folder)
    return [found[number] for number in sorted(found)] or [every]


def _about(path: Path) -> dict[str, Any]:
    held = read_torch(path)
    begun = held.get("init_args") if isinstance(held, Mapping) else None
    if not isinstance(begun, Mapping) or not isinstance(begun.get("configuration"), str):
        told = "does not name its configuration (init_args.configuration), as nnU-Net v2's do"
        raise ModelError("E_FOREIGN_MODEL", told, path)
    return {
        "configuration": begun["configuration"],
        "trainer": str(held.get("trainer_name")),
        "mirror": [int(axis) for axis in held.get("inference_allowed_mirroring_axes") or ()],
    }


def _description(about: Mapping[str, Any], plans: Plans, checkpoints: list[Path]) -> str:
    folds = ", ".join(path.parent.name.removeprefix("fold_") for path in checkpoints)
    return (
        f"nnU-Net v2: {about['trainer']}, {plans.whole.text('plans_name')}, {plans.name},"
        f" {'folds' if len(checkpoints) > 1 else 'fold'} {folds}"
    )


def _step(plans: Plans, mirror: list[int]) -> tuple[str, dict[str, Any]]:
    """The step that asks the network, without the weights; half of each window is shared."""
    window, dims = plans.patch, len(plans.patch)
    model = network(plans.configuration, dims)
    asked: dict[str, Any] = {
        "model": model,
        "window": window,
        "overlap": 0.5,
        "blending": "nnunet",
        "decision": {"scores": "logits", **_back(plans)},
    }
    if dims == 3:
        return "sliding_window", {**asked, "mirror": mirror}
    # Slices lie across the first axis; their own axes are counted from 0 there.
    batch = max(1, min(16, 2**18 // (window[0] * window[1])))
    flat = {"axes": [0], "mirror": [axis + 1 for axis in mirror], "batch": batch}
    return "slices", {**asked, **flat}


def _back(plans: Plans) -> dict[str, Any]:
    """How logits come back to the scan's grid."""
    found = resampling(plans.configuration, "probabilities")
    if found is None:
        return {}
    if found["mode"] != "linear":
        key = "resampling_fn_probabilities_kwargs.order"
        raise plans.configuration.refused(key, "is 1 here, as logits are interpolated linearly")
    apart = {"coarse_axis": found["coarse_axis"]} if "coarse_axis" in found else {}
    return {"pixdim": plans.pixdim, **apart} if apart else {}


def _labels(dataset: Foreign) -> tuple[dict[str, Any], int | None]:
    """The table of labels in the order of the network's channels, and the value to ignore."""
    table = dict(dataset.mapping("labels"))
    ignore = table.pop("ignore", None)
    values = {name: value if isinstance(value, list) else [value] for name, value in table.items()}
    for name, some in values.items():
        if not some or not all(type(one) is int for one in some):
            raise dataset.refused(f"labels.{name}", "is a whole number or a list of them")
    found = {name: some for name, some in values.items() if set(some) != {0}}
    if any(len(some) > 1 for some in found.values()):
        return _regions(dataset, found), ignore
    ordered = sorted(found, key=lambda name: found[name][0])
    if [found[name][0] for name in ordered] != list(range(1, len(ordered) + 1)):
        raise dataset.refused("labels", "are numbered from 1 without a gap, unless they overlap")
    return {name: found[name][0] for name in ordered}, ignore


def _regions(dataset: Foreign, found: Mapping[str, list[int]]) -> dict[str, Any]:
    order = dataset.listed("regions_class_order")
    if len(order) != len(found):
        raise dataset.refused("regions_class_order", f"has one value for each of {list(found)}")
    return {
        name: {"values": values, "paint": paint}
        for (name, values), paint in zip(found.items(), order, strict=True)
    }


def _input(dataset: Foreign) -> dict[str, Any]:
    key = "modality" if dataset.has("modality") else "channel_names"
    channels = dataset.mapping(key)
    names = [str(channels.get(str(index), "")) for index in range(len(channels))]
    if not names or not all(names):
        raise dataset.refused(key, "names every channel by its number, from 0")
    if len(names) == 1:
        return {}
    if len(set(names)) < len(names):
        names = [f"{name}_{index}" for index, name in enumerate(names)]
    return {"input": {"channels": names}}


def _previous(folder: Path, plans: Plans) -> dict[str, Any]:
    """The stage before, whose mask a cascade's second network is told: a folder beside this one."""
    stage = plans.previous
    if stage is None:
        return {}
    same = folder.resolve().name.rpartition("__")[0] + f"__{stage}"
    beside = folder.resolve().parent
    found = [beside / same] if is_nnunet(beside / same) else sorted(beside.glob(f"*__{stage}"))
    if len(found) != 1 or not is_nnunet(found[0]):
        told = f"is the second stage of a cascade and needs the first beside it: {same}"
        raise ModelError("E_FOREIGN_MODEL", told, folder)
    rule = resampling(plans.configuration, "seg") or {}
    apart = {"pixdim": plans.pixdim, "coarse_axis": rule["coarse_axis"]}
    return {
        "previous": {
            "pipeline": str(found[0]),
            **(apart if "coarse_axis" in rule else {}),
        }
    }
