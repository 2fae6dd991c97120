"""What a pipeline file and a site file say, once read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from medseg.image import Labels
from medseg.io import ReadOptions
from medseg.io.exports import ExportOptions, Format
from medseg.metrics import Dice, Iou
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
    bids is a data set of derivatives.
    """

    path: Path | None = None
    formats: tuple[Format, ...] = ("nifti",)

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
class Pipeline:
    """From a scan to its mask: what ``medseg run`` does, in the order of its fields.

    ``deterministic`` asks for the same bytes again on the same machine.
    """

    name: str
    labels: Labels
    inference: tuple[Step, ...]
    description: str = ""
    input: Input = Input()
    within: Within | None = None
    preprocess: tuple[Step, ...] = ()
    refine: tuple[Step, ...] = ()
    postprocess: tuple[Step, ...] = ()
    metrics: tuple[Step, ...] = (Dice(), Iou())
    training: Training | None = None
    output: Path | Output | None = None
    deterministic: bool = False

    def __post_init__(self) -> None:
        if not self.name or not self.name.isprintable() or self.name[0] == "." or "/" in self.name:
            raise ValueError(f"name is one line that could be a folder's name, not {self.name!r}")
        if not self.inference:
            raise ValueError("inference has at least one step")
        if self.output_options.segments == "labelmap" and not self.labels.exclusive:
            raise ValueError("output: a label map holds exclusive labels, and these overlap")

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
class Limits:
    """What a study may take. ``memory_gib``: None for nine tenths of the machine's memory."""

    memory_gib: float | None = None

    def __post_init__(self) -> None:
        if self.memory_gib is not None and self.memory_gib <= 0:
            raise ValueError(f"memory_gib is above 0, not {self.memory_gib}")


@dataclass(frozen=True)
class Site:
    """Where and how the work runs; nothing here changes what a pipeline means.

    ``device`` is auto, cpu, cuda, cuda:1 or mps; ``threads`` is for the processor (None: all).
    """

    device: str = "auto"
    threads: int | None = None
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        kind, _, number = self.device.partition(":")
        if kind not in ("auto", "cpu", "cuda", "mps") or (number and not number.isdecimal()):
            raise ValueError(f"device is auto, cpu, cuda, cuda:1 or mps, not {self.device!r}")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads is at least 1, not {self.threads}")
