"""The strict door as a reader for MONAI's ``LoadImage``."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from medseg.image import Study
from medseg.io.options import ReadOptions
from medseg.io.scan import Scan, read_scan

Paths = str | PathLike[str] | Sequence[str | PathLike[str]]


def monai_reader(options: ReadOptions | None = None) -> Any:
    """A ``monai.data.ImageReader`` that reads what ``read_scan`` reads, and refuses the rest.

    The voxels come as ``(X, Y, Z)``, or ``(C, X, Y, Z)`` for several files, their affine in
    RAS+ mm. Register it, ``load = LoadImage(); load.register(monai_reader())``, and what is
    refused is a StudyError with its code. Given as ``LoadImage(reader=...)`` it is asked first,
    but MONAI then tries its other readers with what it refused, and some of them take it.
    """
    from monai.data import ImageReader

    options = options or ReadOptions()

    class MedsegReader(ImageReader):  # type: ignore[misc]
        """Scans through medseg's strict door."""

        def verify_suffix(self, filename: Paths) -> bool:  # noqa: ARG002 - MONAI's word
            """Every name will do: files are told by what is in them."""
            return True

        def read(self, data: Paths, **_: Any) -> Scan:
            """Read one file, or several as channels on one grid."""
            paths = [data] if isinstance(data, str | PathLike) else list(data)
            images = tuple(Path(path) for path in paths)
            return read_scan(Study(images[0].name, images), options)

        def get_data(self, img: Scan) -> tuple[Any, dict[str, Any]]:
            """The voxels and what MONAI wants to know of them."""
            return _for_monai(img)

    return MedsegReader()


def _for_monai(scan: Scan) -> tuple[Any, dict[str, Any]]:
    from monai.utils.enums import MetaKeys, SpaceKeys

    volume = scan.volume
    several = volume.channels > 1
    meta = {
        MetaKeys.AFFINE: volume.grid.affine.copy(),
        MetaKeys.ORIGINAL_AFFINE: volume.grid.affine.copy(),
        MetaKeys.SPATIAL_SHAPE: list(volume.grid.shape),
        MetaKeys.SPACE: SpaceKeys.RAS,
        MetaKeys.ORIGINAL_CHANNEL_DIM: 0 if several else float("nan"),
    }
    return volume.data if several else volume.data[0], meta
