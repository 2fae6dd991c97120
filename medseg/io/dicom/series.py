"""A stack of DICOM slices to voxels on a grid, through the same door as files of other formats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from medseg.errors import Caution, StudyError
from medseg.image.study import Stack
from medseg.io.dicom.header import Header, Plane
from medseg.io.dicom.index import Index, index_of, stack_of
from medseg.io.dicom.pixels import check_pixels, check_size, frames_of
from medseg.io.dicom.placing import Placed, called, placed
from medseg.io.dicom.stacks import Pile
from medseg.io.dicom.suv import suv_factor
from medseg.io.geometry import Geometry
from medseg.io.inspection import Slices, filled, inspected
from medseg.io.options import ReadOptions
from medseg.io.sizes import by
from medseg.io.stream import sha256_of

_SHOWN = 4


@dataclass(frozen=True, eq=False)
class Series:
    """A stack's voxels (1, X, Y, Z) float32, x fastest in memory, and where they lie."""

    data: NDArray[np.float32]
    geometry: Geometry
    cautions: tuple[Caution, ...]
    digests: Mapping[Path, str]


def read_series(
    image: Path | Stack, options: ReadOptions, taken: float = 0, copies: int = 1
) -> Series:
    """Read a stack, the one series of a folder, or the one that ``options.series`` means.

    Values are rescaled slice by slice, PET to SUV by body weight. ``taken`` bytes are in use
    already and ``copies`` images of this size will be held. Raises StudyError E_DICOM_... with
    the slices named, E_DTYPE, E_TRUNCATED, E_TOO_LARGE, E_TIMEOUT or E_WORKER_DIED.
    """
    pile, cautions = _pile_of(image, options)
    for header in pile.headers:
        check_pixels(header)
        check_size(header)
    place = placed(pile, options.missing_slices == "interpolate")
    options.refuse_large(prod(place.grid.shape), taken, copies)
    try:
        slices, told = _slices(pile, place, options)
    except MemoryError:
        where = pile.header.path.parent
        raise StudyError("E_MEMORY", "there is not enough memory to read it", where) from None
    x, y, z = place.grid.shape
    frames = (x, y, z, 1)
    if not (np.isfinite(slices.lows).all() and np.isfinite(slices.highs).all()):
        slices, more = filled(slices, frames, options.nonfinite == "fill")
        told += more
    told += inspected(slices, frames)
    data = slices.rows.reshape(1, z, y, x).transpose(0, 3, 2, 1)
    cautions += place.cautions + told
    return Series(data, Geometry.of(place.grid), cautions, series_digests(image, options))


def series_digests(image: Path | Stack, options: ReadOptions | None = None) -> Mapping[Path, str]:
    """One SHA-256 for all files of a stack, whatever they are called and in whatever order."""
    if not isinstance(image, Stack):
        image = stack_of(_pile_of(image, options or ReadOptions())[0])
    each = sorted(sha256_of(path) for path in image.files)
    name = f"{len(each)} DICOM files" if len(each) > 1 else "1 DICOM file"
    return {image.folder / name: sha256("".join(each).encode()).hexdigest()}


def headers_of(image: Path | Stack, options: ReadOptions | None = None) -> tuple[Pile, Placed]:
    """The headers of a scan and its slices in their order: what a SEG or RTSTRUCT refers to."""
    options = options or ReadOptions()
    pile, _ = _pile_of(image, options)
    return pile, placed(pile, options.missing_slices == "interpolate")


def _pile_of(image: Path | Stack, options: ReadOptions) -> tuple[Pile, tuple[Caution, ...]]:
    if isinstance(image, Stack):
        return _joined(index_of(image.files), image), ()
    index = index_of(image)
    rule = options.series if options.series != "each" else None
    return one_of(index, index.chosen(rule)), damaged(index)


def one_of(index: Index, found: tuple[Pile, ...]) -> Pile:
    """The only one of several stacks; StudyError E_DICOM_MIXED or E_NO_INPUT."""
    if len(found) == 1:
        return found[0]
    if not index.piles:
        said = sorted({one.reason for one in index.aside})[:_SHOWN]
        why = f" ({'; '.join(said)})" if said else ""
        raise StudyError("E_NOT_AN_IMAGE", f"is DICOM and holds no scan{why}", index.root)
    if not found:
        there = f"{len(index.piles)} DICOM stacks and none that input.series means"
        raise StudyError("E_NO_INPUT", f"holds {there}", index.root)
    told = "; ".join(described(pile) for pile in found[:_SHOWN])
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    alone = len({(pile.header.study, pile.header.series) for pile in found}) == 1
    what = f"one series holds {len(found)} stacks" if alone else f"holds {len(found)} stacks"
    cure = "{stack: 1}" if alone else "{modality: CT}, or by number"
    raise StudyError(
        "E_DICOM_MIXED", f"{what}: {told}{more}; say which by input: {{series: {cure}}}", index.root
    )


def described(pile: Pile) -> str:
    """A stack in a few words, none of them free text of its header."""
    stack = f" stack {pile.place}" if pile.of > 1 else ""
    size = by((pile.header.columns, pile.header.rows, len(pile.planes)))
    first = f" from {called(pile.planes[0])}" if pile.of > 1 else ""
    return f"{kind_of(pile)}{stack} of {size}{first}"


def kind_of(pile: Pile) -> str:
    """The modality and number of a stack's series."""
    modality = "".join(c for c in pile.header.modality if c.isalnum())[:16] or "image"
    return modality if pile.header.number is None else f"{modality} series {pile.header.number}"


def damaged(index: Index) -> tuple[Caution, ...]:
    """W_DICOM_ASIDE where files that may have been slices cannot be read."""
    lost = [one for one in index.aside if one.damaged]
    if not lost:
        return ()
    told = f"{len(lost)} DICOM files cannot be read and were left out: {lost[0].path.name}"
    return (Caution("W_DICOM_ASIDE", told + (" and others" if len(lost) > 1 else "")),)


def _joined(index: Index, stack: Stack) -> Pile:
    """The stack's own slices, whatever else its files hold."""
    wanted = set(stack.slices)
    found: list[Pile] = []
    for pile in index.piles:
        planes = tuple(plane for plane in pile.planes if (plane.path, plane.frame) in wanted)
        if planes:
            found.append(replace(pile, planes=planes))
    lost = sorted(wanted - {(p.path, p.frame) for pile in found for p in pile.planes})
    if lost:
        raise StudyError("E_NOT_FOUND", "can no longer be read as a slice", lost[0][0])
    return one_of(replace(index, root=stack.folder), tuple(found))


def _slices(pile: Pile, place: Placed, options: ReadOptions) -> tuple[Slices, tuple[Caution, ...]]:
    """Rows (Z, Y * X) of the grid, rescaled; missing ones between their neighbours."""
    x, y, z = place.grid.shape
    rows = np.empty((z, y * x), np.float32)
    factors, told = _factors(pile, place, options)
    by_file = {header.path: header for header in pile.headers}
    done = 0
    for header, planes in _runs(by_file, place.planes):
        for plane, frame in zip(planes, frames_of(header, planes), strict=True):
            scaled = frame.reshape(-1) * (plane.slope * factors[done])
            rows[place.at[done]] = scaled + plane.inter * factors[done]
            done += 1
    told += _filled_in(rows, place)
    if any(header.photometric == "MONOCHROME1" for header in pile.headers):
        said = "low values are meant to be shown bright (MONOCHROME1); they were taken as stored"
        told += (Caution("W_DICOM_MONOCHROME1", said),)
    return Slices(rows, rows.min(axis=1), rows.max(axis=1)), told


def _runs(
    by_file: Mapping[Path, Header], planes: tuple[Plane, ...]
) -> list[tuple[Header, list[Plane]]]:
    """Slices in their order, together as long as their pixels have one form."""
    runs: list[tuple[Header, list[Plane]]] = []
    for plane in planes:
        header = by_file[plane.path]
        form = (header.bits, header.signed)
        if not runs or (runs[-1][0].bits, runs[-1][0].signed) != form:
            runs.append((header, []))
        runs[-1][1].append(plane)
    return runs


def _factors(
    pile: Pile, place: Placed, options: ReadOptions
) -> tuple[list[float], tuple[Caution, ...]]:
    """What each slice's values are multiplied by beyond their own rescaling."""
    check_scales(pile.headers, place.planes)
    if pile.header.modality != "PT" or options.pet == "stored":
        return [1.0] * len(place.planes), ()
    known: dict[Path, float] = {}
    for plane in place.planes:
        if plane.path not in known:
            known[plane.path] = suv_factor(plane.path)
    return [known[plane.path] for plane in place.planes], ()


def check_scales(headers: Iterable[Header], planes: Iterable[Plane]) -> None:
    """Refuse values that no slope and intercept scale: StudyError E_DICOM_TAG or E_SCALING."""
    for header in headers:
        if header.scaled_by_table:
            raise StudyError(
                "E_DICOM_TAG", "is scaled by a ModalityLUTSequence, which is not read", header.path
            )
    for plane in planes:
        if not np.isfinite([plane.slope, plane.inter]).all() or plane.slope == 0:
            raise StudyError(
                "E_SCALING",
                f"{called(plane)}: RescaleSlope or RescaleIntercept is no number to scale by",
                plane.path,
            )


def _filled_in(rows: NDArray[np.float32], place: Placed) -> tuple[Caution, ...]:
    """Slices that are not there become the mean of those around them, by their distance."""
    if not place.missing:
        return ()
    there = np.array(place.at)
    for lost in place.missing:
        above = int(there[there > lost].min())
        below = int(there[there < lost].max())
        share = np.float32((lost - below) / (above - below))
        rows[lost] = rows[below] * (1 - share) + rows[above] * share
    places = ", ".join(str(lost) for lost in place.missing[:8])
    more = " and more" if len(place.missing) > 8 else ""
    told = f"slices {places}{more} of the grid are missing and were interpolated"
    return (Caution("W_DICOM_GAP", told),)
