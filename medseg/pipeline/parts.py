"""What a pipeline file and a site file say, once read."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from medseg.execution import Dask
from medseg.image import Labels
from medseg.image.coarse import CoarseAxis
from medseg.inference import Limits
from medseg.io import ReadOptions
from medseg.io.exports import ExportOptions, Format
from medseg.metrics import Dice, Instances, Iou, Probabilities, Quality
from medseg.step import Step
from medseg.training import Training


@dataclass(frozen=True)
class Input(ReadOptions):
    """Where the scans are, and how they are read.

    ``path`` is a file, a folder, a pattern with {study}, a manifest, a data set or a tree of DICOM;
    ``reference`` a file, a folder or a pattern of masks. ``channels`` names a study's images in
    the network's order.
    """

    path: Path | None = None
    reference: Path | None = None
    channels: tuple[str, ...] = ("image",)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.channels or len(set(self.channels)) != len(self.channels):
            raise ValueError(
                f"channels names one image of a study or several, each once, not {self.channels}"
            )
        if not all(self.channels):
            raise ValueError("channels are words, none of them empty")


@dataclass(frozen=True)
class Output(ExportOptions):
    """Where results go (``path``), and in which ``formats`` masks are written beside NIfTI.

    dicom_seg and rtstruct are written where the scan is DICOM; seg_nrrd is 3D Slicer's own; stl
    and ply are surfaces in mm; itksnap and slicer are tables of the labels' names and colours;
    bids is a data set of derivatives. With ``probabilities`` those of every label are written as
    well, at the pipeline's temperature: a NIfTI of (X, Y, Z, labels) for each study.
    """

    path: Path | None = None
    formats: tuple[Format, ...] = ("nifti",)
    probabilities: bool = False

    def __post_init__(self) -> None:
        if len(set(self.formats)) != len(self.formats):
            raise ValueError(f"formats are named once each, not {', '.join(self.formats)}")
        if not self.tool or not self.tool.isprintable():
            raise ValueError("tool is a name on one line")


@dataclass(frozen=True)
class Within:
    """Crop to what another pipeline finds, before the preprocessing.

    ``labels`` are those of the other pipeline (None: all of them); ``margin_mm`` is added on
    every side.
    """

    pipeline: Path
    labels: tuple[str, ...] | None = None
    margin_mm: float = 0.0

    def __post_init__(self) -> None:
        if self.labels is not None and not self.labels:
            raise ValueError("labels is left out for all labels, or names at least one")
        if self.margin_mm < 0:
            raise ValueError(f"margin_mm is 0 or more, not {self.margin_mm}")


@dataclass(frozen=True)
class Previous:
    """The mask of another pipeline as further channels, after those of the preprocessed scan.

    Each of its values, in rising order, is a channel of 0 and 1 (the cascade of Isensee et al.
    2021). ``coarse_axis`` brings thick slices to the preprocessed grid one by one, as the step
    ``spacing`` does; the voxels after are then those of ``pixdim`` (null: the scan's own along
    that axis), or of the preprocessed grid where that is left out.
    """

    pipeline: Path
    coarse_axis: CoarseAxis | None = None
    pixdim: tuple[float | None, float | None, float | None] | None = None


@dataclass(frozen=True)
class Privacy:
    """What studies are called: by their own names (keep), or by a keyed hash of these.

    ``key`` is a file of 16 secret bytes or more; with the same key a study has the same id. With
    hash no name of a file or a study is in what a run writes or says of studies.
    """

    ids: Literal["keep", "hash"] = "keep"
    key: Path | None = None

    def __post_init__(self) -> None:
        if (self.ids == "hash") != (self.key is not None):
            raise ValueError("key is the file of a secret, for ids: hash, which wants one")


@dataclass(frozen=True)
class Calibration:
    """How sure the networks are to be taken to be (Guo et al. 2017, arXiv:1706.04599).

    Scores before their softmax or sigmoid are divided by ``temperature`` wherever probabilities
    are written, refined or averaged over a lesion: above 1 for networks that are too sure of
    themselves, as most are. Which label is the likeliest does not change. ``medseg train --fold
    all`` fits it to what was held out.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0.01 <= self.temperature <= 100:
            raise ValueError(f"temperature lies in [0.01, 100], not {self.temperature}")


@dataclass(frozen=True)
class Pipeline:
    """From a scan to its mask: what ``medseg run`` does, in the order of its fields.

    ``quality`` says what is flagged in masks without a reference, ``instances`` asks for a line of
    instances.csv for each lesion or organ, ``probabilities`` for how sure the networks were.
    ``deterministic`` asks for the same bytes again on the same machine.
    """

    name: str
    labels: Labels
    inference: tuple[Step, ...]
    description: str = ""
    input: Input = Input()
    within: Within | None = None
    preprocess: tuple[Step, ...] = ()
    previous: Previous | None = None
    calibration: Calibration = Calibration()
    refine: tuple[Step, ...] = ()
    postprocess: tuple[Step, ...] = ()
    metrics: tuple[Step, ...] = (Dice(), Iou())
    quality: Quality = field(default_factory=Quality)
    instances: Instances | None = None
    probabilities: Probabilities | None = None
    training: Training | None = None
    output: Path | Output | None = None
    privacy: Privacy = Privacy()
    deterministic: bool = False

    def __post_init__(self) -> None:
        if not self.name or not self.name.isprintable() or self.name[0] == "." or "/" in self.name:
            raise ValueError(f"name is one line that could be a folder's name, not {self.name!r}")
        if not self.inference:
            raise ValueError("inference has at least one step")
        if self.output_options.segments == "labelmap" and not self.labels.exclusive:
            raise ValueError("output: a label map holds exclusive labels, and these overlap")
        named = {"dicom_seg", "rtstruct"} & set(self.output_options.formats)
        if self.privacy.ids == "hash" and named:
            told = f"{' and '.join(sorted(named))} carry what the scan says of the patient"
            raise ValueError(f"privacy: {told}; take them out of output.formats")

    @property
    def keeps_scores(self) -> bool:
        """Whether probabilities are wanted once the mask is decided."""
        return self.probabilities is not None or self.output_options.probabilities

    @property
    def output_options(self) -> Output:
        """Where and in which formats results are written."""
        return self.output if isinstance(self.output, Output) else Output(path=self.output)

    def writing_to(self, path: Path) -> Pipeline:
        """The same pipeline with another output folder."""
        if isinstance(self.output, Output):
            return replace(self, output=replace(self.output, path=path))
        return replace(self, output=path)


@dataclass(frozen=True)
class Site:
    """Where and how the work runs; nothing here changes what a pipeline means.

    ``device`` is auto, cpu, cuda, cuda:1 or mps; ``threads`` is for the processor (None: all).
    ``execution`` is serial, in this process, or local: ``workers`` processes for each of
    ``devices`` (none: for ``device``), which are watched, stopped where a study passes
    ``limits``, and started anew where one dies; or dask, the same by the workers of a ``dask``
    cluster. A training is always in its own process.
    """

    device: str = "auto"
    threads: int | None = None
    limits: Limits = field(default_factory=Limits)
    execution: Literal["serial", "local", "dask"] = "serial"
    workers: int = 1
    devices: tuple[str, ...] = ()
    dask: Dask | None = None

    def __post_init__(self) -> None:
        _check_device("device", self.device)
        for one in self.devices:
            _check_device("devices", one)
        for name in ("threads", "workers"):
            given = getattr(self, name)
            if given is not None and given < 1:
                raise ValueError(f"{name} is at least 1, not {given}")
        if self.execution == "serial":
            if self.workers > 1 or self.devices:
                name = "devices" if self.devices else "workers"
                raise ValueError(f"{name} is for execution: local or dask")
            if self.limits.seconds is not None:
                told = "limits: seconds wants execution: local or dask, which can stop a study"
                raise ValueError(told)
        if self.dask is not None and self.execution != "dask":
            raise ValueError("dask is for execution: dask")
        if self.away and (self.workers > 1 or self.devices):
            name = "devices" if self.devices else "workers"
            raise ValueError(f"{name} is for workers of this machine; a cluster has its own")

    @property
    def cluster(self) -> Dask:
        """The Dask cluster, one of this machine where none is named."""
        return self.dask or Dask()

    @property
    def away(self) -> bool:
        """Whether the work may be done on other machines."""
        return self.execution == "dask" and self.cluster.away

    @property
    def places(self) -> tuple[str, ...]:
        """The device of each worker."""
        return (self.devices or (self.device,)) * self.workers


def _check_device(name: str, device: str) -> None:
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda", "mps") or (number and not number.isdecimal()):
        raise ValueError(f"{name} is auto, cpu, cuda, cuda:1 or mps, not {device!r}")
