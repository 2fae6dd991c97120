"""Studies and their masks laid out as nnU-Net, the Decathlon or BIDS have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medseg.errors import InputError, MedsegError, StudyError
from medseg.execution import serial
from medseg.image import Label, Labels, Study
from medseg.io import ReadOptions, read_labels, read_scan, write_mask
from medseg.io.bids_write import BIDS_VERSION, entities_of, write_json
from medseg.io.own_table import labels_in
from medseg.io.scan import Scan
from medseg.io.write_scan import write_scan
from medseg.run.events import State, StudyDone, Watch
from medseg.run.folder import held


@dataclass(frozen=True)
class DataSet:
    """A data set to be written: its layout, its folder, its channels and its labels."""

    layout: str
    folder: Path
    channels: tuple[str, ...] = ("image",)
    labels: Labels | None = None
    options: ReadOptions = field(default_factory=ReadOptions)

    def __post_init__(self) -> None:
        if self.layout == "decathlon" and len(self.channels) > 1:
            raise InputError("E_NO_INPUT", "a Decathlon data set has one file a study", self.folder)
        if self.layout == "bids" and not all(map(_is_suffix, self.channels)):
            raise InputError(
                "E_NO_INPUT",
                "BIDS names images by what they are; say it by --channels, such as T1w",
                self.folder,
            )

    def write(self, studies: Sequence[Study], watch: Watch) -> dict[str, MedsegError]:
        """Write all studies and what describes them; those that could not be, and why.

        Scans and masks go through the strict door and get new headers, with nothing of a patient
        in them. Raises InputError or OutputError.
        """
        if self.folder.exists() and any(self.folder.iterdir()):
            raise InputError("E_NO_INPUT", "is not empty; name a new folder", self.folder)
        labels = self.labels or self._found(studies)
        failures: dict[str, MedsegError] = {}
        done_names: list[tuple[str, bool]] = []
        with held(self.folder):
            for done in serial(lambda study: self._study(study, labels), studies):
                state: State = "done" if done.error is None else "failed"
                watch(StudyDone(done.item.name, state, done.seconds, str(done.error or "")))
                if done.error is not None:
                    failures[done.item.name] = done.error
                else:
                    done_names.append((done.item.name, done.item.reference is not None))
            if done_names:
                self._describe(done_names, labels)
        return failures

    def _found(self, studies: Sequence[Study]) -> Labels | None:
        """One table for all references: the names that the first gives, or all values."""
        found: dict[str, Label] = {}
        for study in studies:
            if study.reference is None:
                continue
            grid = None
            try:
                for label in labels_in(study.reference, grid):
                    found.setdefault(label.name, label)
            except StudyError as error:
                if error.code != "E_LABEL_VALUES":
                    raise InputError(
                        error.code, f"{error.message}; name the labels by --labels", error.path
                    ) from None
        if not found:
            return None
        try:
            return Labels(tuple(sorted(found.values(), key=lambda label: label.values)))
        except ValueError as error:
            raise InputError(
                "E_LABEL_VALUES", f"{error}; name the labels by --labels", self.folder
            ) from None

    def _study(self, study: Study, labels: Labels | None) -> bool:
        scan = read_scan(study, self.options)
        for place, channel in enumerate(self.channels):
            path = self._image_path(study, place, channel)
            write_scan(path, scan.frames, scan.geometry, place)
        if study.reference is not None and labels is not None:
            self._mask(study, scan, labels)
        return True

    def _mask(self, study: Study, scan: Scan, labels: Labels) -> None:
        assert study.reference is not None
        grid = scan.frames[0].grid
        mask, _ = read_labels(study.reference, labels, grid, self.options)
        write_mask(self._mask_path(study), mask, scan.geometry)

    def _image_path(self, study: Study, place: int, channel: str) -> Path:
        part = "imagesTr" if study.reference is not None else "imagesTs"
        if self.layout == "nnunet":
            return self.folder / part / f"{study.name}_{place:04d}.nii.gz"
        if self.layout == "decathlon":
            return self.folder / part / f"{study.name}.nii.gz"
        return self.folder / _bids_place(study) / f"{_bids_name(study)}_{channel}.nii.gz"

    def _mask_path(self, study: Study) -> Path:
        if self.layout != "bids":
            return self.folder / "labelsTr" / f"{study.name}.nii.gz"
        place = self.folder / "derivatives" / "masks" / _bids_place(study)
        return place / f"{_bids_name(study)}_dseg.nii.gz"

    def _describe(self, names: Sequence[tuple[str, bool]], labels: Labels | None) -> None:
        if self.layout == "bids":
            said: dict[str, Any] = {"Name": self.folder.name, "BIDSVersion": BIDS_VERSION}
            write_json(self.folder / "dataset_description.json", {**said, "DatasetType": "raw"})
            masks = {**said, "DatasetType": "derivative", "GeneratedBy": [{"Name": "medseg"}]}
            if labels is not None:
                folder = self.folder / "derivatives" / "masks"
                write_json(folder / "dataset_description.json", masks)
            return
        describe = _nnunet if self.layout == "nnunet" else _decathlon
        write_json(
            self.folder / "dataset.json", describe(self.folder.name, self.channels, labels, names)
        )


def _is_suffix(channel: str) -> bool:
    return channel != "image" and channel.isascii() and channel.isalnum()


def _bids_place(study: Study) -> str:
    entities = entities_of(study.name)
    return "/".join([one for one in entities if one.startswith(("sub-", "ses-"))] + ["anat"])


def _bids_name(study: Study) -> str:
    return "_".join(entities_of(study.name))


def _nnunet(
    name: str, channels: Sequence[str], labels: Labels | None, names: Sequence[tuple[str, bool]]
) -> dict[str, Any]:
    del name
    table: dict[str, Any] = {"background": 0}
    said: dict[str, Any] = {"channel_names": {str(n): one for n, one in enumerate(channels)}}
    if labels is not None:
        for label in labels:
            table[label.name] = label.values[0] if len(label.values) == 1 else list(label.values)
        if not labels.exclusive:
            said["regions_class_order"] = list(labels.painted)
        if labels.ignore is not None:
            table["ignore"] = labels.ignore
    trained = sum(with_mask for _, with_mask in names)
    return {**said, "labels": table, "numTraining": trained, "file_ending": ".nii.gz"}


def _decathlon(
    name: str, channels: Sequence[str], labels: Labels | None, names: Sequence[tuple[str, bool]]
) -> dict[str, Any]:
    table = {"0": "background"}
    for label in labels or ():
        table |= {str(value): label.name for value in label.values}
    training = [
        {"image": f"./imagesTr/{one}.nii.gz", "label": f"./labelsTr/{one}.nii.gz"}
        for one, with_mask in names
        if with_mask
    ]
    test = [f"./imagesTs/{one}.nii.gz" for one, with_mask in names if not with_mask]
    return {
        "name": name,
        "tensorImageSize": "3D",
        "modality": {str(n): one for n, one in enumerate(channels)},
        "labels": table,
        "numTraining": len(training),
        "numTest": len(test),
        "training": training,
        "test": test,
    }
