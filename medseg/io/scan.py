"""A study's scan: its channels read, checked and brought together on one grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from medseg.errors import Caution, StudyError
from medseg.image import Grid, Study, Volume
from medseg.image.resampling import inside_of, resample
from medseg.image.study import Stack
from medseg.io.dicom.index import holds_dicom
from medseg.io.dicom.series import read_series, series_digests
from medseg.io.geometry import Geometry, tolerance_mm
from medseg.io.image_file import files_of, opened
from medseg.io.options import ReadOptions
from medseg.io.sizes import by
from medseg.io.stream import sha256_of
from medseg.io.voxels import read_float

Frames = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Scan:
    """A study's frames (one, unless it is a series), all on the grid of its first channel.

    ``geometry`` is what a mask of it must carry; ``digests`` has the SHA-256 of every file.
    """

    study: Study
    frames: tuple[Volume, ...]
    geometry: Geometry
    cautions: tuple[Caution, ...]
    digests: Mapping[str, str]

    @property
    def volume(self) -> Volume:
        """The only frame; ValueError where there are several."""
        if len(self.frames) != 1:
            raise ValueError(f"{self.study.name} has {len(self.frames)} frames, not one")
        return self.frames[0]


@dataclass(frozen=True, eq=False)
class _Channel:
    """One image's voxels (T, X, Y, Z), x fastest in memory."""

    path: Path
    data: Frames
    geometry: Geometry
    cautions: tuple[Caution, ...]
    digests: Mapping[Path, str]


def read_scan(study: Study, options: ReadOptions | None = None) -> Scan:
    """Read a study through the strict door.

    The grid of the first channel rules. Others must lie on it within ``tolerance_mm``, or are
    interpolated linearly onto it where ``options.align`` says so. Raises StudyError with the
    code of what is wrong and the file it is wrong with.
    """
    options = options or ReadOptions()
    count = len(study.images)
    if count == 0:
        raise StudyError("E_NO_INPUT", f"the study {study.name} names no image")
    # While channels are brought together, the first is held twice.
    first = _read(study.images[0], options, 0, count if count == 1 else count + 1)
    channels = [first]
    data = first.data[:, None]
    if count > 1:
        data = _room_for(first, count)
        taken = data.nbytes
        for place, path in enumerate(study.images[1:], 1):
            other = _read(path, options, taken, 1)
            data[:, place] = _aligned(other, first, options)
            channels.append(_without_data(other))
    grid = first.geometry.grid
    return Scan(
        study=study,
        frames=tuple(Volume(frame, grid) for frame in data),
        geometry=first.geometry,
        cautions=_told(channels),
        digests=_shortly({path: sha for one in channels for path, sha in one.digests.items()}),
    )


def grid_of(study: Study, options: ReadOptions | None = None) -> Grid | None:
    """The grid that ``read_scan`` would give a study, from its first file's header.

    None for a DICOM series, which has many.
    """
    first = study.images[0]
    if isinstance(first, Stack) or is_series(first):
        return None
    with opened(first, options or ReadOptions()) as image:
        return image.geometry.grid


def digests_of(study: Study, options: ReadOptions | None = None) -> Mapping[str, str]:
    """What ``read_scan(study).digests`` would say, without reading a voxel."""
    digests: dict[Path, str] = {}
    for image in study.images:
        if isinstance(image, Stack) or is_series(image):
            digests.update(series_digests(image, options))
        else:
            digests.update({file: sha256_of(file) for file in files_of(image)})
    return _shortly(digests)


def is_series(image: Path | Stack) -> bool:
    """Whether an image is a stack of DICOM slices, a folder of them, or a file of them."""
    return isinstance(image, Stack) or holds_dicom(image)


def _read(path: Path | Stack, options: ReadOptions, taken: float, copies: int) -> _Channel:
    if isinstance(path, Stack) or is_series(path):
        series = read_series(path, options, taken, copies)
        return _Channel(Path(path), series.data, series.geometry, series.cautions, series.digests)
    with opened(path, options, taken, copies) as image:
        data, seen = read_float(image, options.nonfinite == "fill")
        cautions = image.cautions + image.finish() + seen
        if image.what.own_mask:
            told = "carries medseg's own label table; it is a mask, not a scan"
            cautions += (Caution("W_LOOKS_LIKE_OUTPUT", told),)
        return _Channel(path, data, image.geometry, cautions, image.digests())


def _room_for(first: _Channel, channels: int) -> Frames:
    """An array (T, C, X, Y, Z), x fastest in memory, that begins with the first channel."""
    frames, x, y, z = first.data.shape
    data = np.empty((frames, channels, z, y, x), np.float32).transpose(0, 1, 4, 3, 2)
    data[:, 0] = first.data
    return data


def _without_data(channel: _Channel) -> _Channel:
    nothing = np.empty((0, 0, 0, 0), np.float32)
    return _Channel(channel.path, nothing, channel.geometry, channel.cautions, channel.digests)


def _aligned(channel: _Channel, first: _Channel, options: ReadOptions) -> Frames:
    """A channel's frames (T or 1, X, Y, Z) on the grid of the first."""
    grid, own = first.geometry.grid, channel.geometry.grid
    if len(channel.data) not in (1, len(first.data)):
        raise StudyError(
            "E_NDIM",
            f"has {len(channel.data)} frames and {first.path.name} {len(first.data)}",
            channel.path,
        )
    if own.near(grid, tolerance_mm(grid)):
        return channel.data
    apart = _apart(own, grid)
    if options.align == "refuse":
        raise StudyError(
            "E_GEOMETRY_CONFLICT",
            f"{apart} {first.path.name}; set input: {{align: resample}} to bring it onto that grid",
            channel.path,
        )
    if not inside_of(grid, own).any():
        raise StudyError(
            "E_GEOMETRY_CONFLICT", f"has no voxel in common with {first.path.name}", channel.path
        )
    moved = [resample(Volume(frame[None], own), grid, "linear").data for frame in channel.data]
    return np.concatenate(moved)


def _apart(own: Grid, grid: Grid) -> str:
    if own.shape != grid.shape:
        return f"has {by(own.shape)} voxels, not the {by(grid.shape)} of"
    return f"lies up to {own.farthest_corner_mm(grid):.2f} mm away from"


def _told(channels: Sequence[_Channel]) -> tuple[Caution, ...]:
    if len(channels) == 1:
        return channels[0].cautions
    return tuple(
        Caution(caution.code, f"{channel.path.name}: {caution.message}")
        for channel in channels
        for caution in channel.cautions
    )


def _shortly(digests: Mapping[Path, str]) -> Mapping[str, str]:
    """File names as keys, with as many folders before them as tell them apart."""
    # Path.parts stays with the path, and a run of thousands keeps its paths.
    split = {tuple(path.as_posix().split("/")): sha for path, sha in digests.items()}
    for parts in range(1, max(map(len, split), default=1) + 1):
        names = {"/".join(path[-parts:]): sha for path, sha in split.items()}
        if len(names) == len(digests):
            break
    return MappingProxyType(names)
