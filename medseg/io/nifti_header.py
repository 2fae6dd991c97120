"""The header of NIfTI-1 and NIfTI-2: its fields in either byte order, and whether they hold."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike

from medseg.errors import Caution, StudyError
from medseg.io.kinds import header_size
from medseg.io.sizes import spaced
from medseg.io.stream import ByteStream

NIFTI1 = np.dtype(
    [
        ("sizeof_hdr", "i4"),
        ("unused", "V35"),
        ("dim_info", "u1"),
        ("dim", "i2", (8,)),
        ("intent_p", "f4", (3,)),
        ("intent_code", "i2"),
        ("datatype", "i2"),
        ("bitpix", "i2"),
        ("slice_start", "i2"),
        ("pixdim", "f4", (8,)),
        ("vox_offset", "f4"),
        ("scl_slope", "f4"),
        ("scl_inter", "f4"),
        ("slice_end", "i2"),
        ("slice_code", "u1"),
        ("xyzt_units", "u1"),
        ("cal", "f4", (2,)),
        ("slice_duration", "f4"),
        ("toffset", "f4"),
        ("glmax_glmin", "i4", (2,)),
        ("descrip", "V80"),
        ("aux_file", "V24"),
        ("qform_code", "i2"),
        ("sform_code", "i2"),
        ("quatern", "f4", (3,)),
        ("qoffset", "f4", (3,)),
        ("srow", "f4", (12,)),
        ("intent_name", "V16"),
        ("magic", "V4"),
    ]
)
NIFTI2 = np.dtype(
    [
        ("sizeof_hdr", "i4"),
        ("magic", "V8"),
        ("datatype", "i2"),
        ("bitpix", "i2"),
        ("dim", "i8", (8,)),
        ("intent_p", "f8", (3,)),
        ("pixdim", "f8", (8,)),
        ("vox_offset", "i8"),
        ("scl_slope", "f8"),
        ("scl_inter", "f8"),
        ("cal", "f8", (2,)),
        ("slice_duration", "f8"),
        ("toffset", "f8"),
        ("slice_start_end", "i8", (2,)),
        ("descrip", "V80"),
        ("aux_file", "V24"),
        ("qform_code", "i4"),
        ("sform_code", "i4"),
        ("quatern", "f8", (3,)),
        ("qoffset", "f8", (3,)),
        ("srow", "f8", (12,)),
        ("slice_code", "i4"),
        ("xyzt_units", "i4"),
        ("intent_code", "i4"),
        ("intent_name", "V16"),
        ("dim_info", "u1"),
        ("unused", "V15"),
    ]
)
DATATYPES: dict[int, DTypeLike] = {
    2: np.uint8,
    4: np.int16,
    8: np.int32,
    16: np.float32,
    64: np.float64,
    256: np.int8,
    512: np.uint16,
    768: np.uint32,
    1024: np.int64,
    1280: np.uint64,
}
_REFUSED = {
    0: "of no stated type",
    1: "of one bit each",
    32: "complex numbers, not a scan",
    128: "colours (RGB), not a scan",
    1536: "floats of 128 bits, which readers do not agree on; save them as float32",
    1792: "complex numbers, not a scan",
    2048: "complex numbers, not a scan",
    2304: "colours (RGBA), not a scan",
}
_MAGIC = {
    b"n+1\0": True,
    b"ni1\0": False,
    b"n+2\0\r\n\x1a\n": True,
    b"ni2\0\r\n\x1a\n": False,
}


@dataclass(frozen=True)
class NiftiHeader:
    """What a NIfTI header says, checked for what can be said of it alone.

    ``dims`` are its sides, as many as it counts; ``single`` is False for a .hdr of a pair.
    """

    version: Literal[1, 2]
    single: bool
    order: Literal["<", ">"]
    fields: Any
    dims: tuple[int, ...]
    dtype: np.dtype[Any]
    voxels_at: int
    slope: float
    inter: float
    cautions: tuple[Caution, ...]

    @property
    def frames(self) -> tuple[int, int, int, int]:
        """X, Y, Z and the number of frames."""
        x, y, z, t = (*self.dims, 1, 1)[:4]
        return x, y, z, t


def read_header(stream: ByteStream, pair_name: bool) -> NiftiHeader:
    """Read and check a header; the stream stands behind it afterwards.

    ``pair_name`` says that the file's name ends in .hdr or .img, as Analyze 7.5 files' do.
    Raises StudyError E_TRUNCATED, E_HEADER_INVALID, E_GEOMETRY_MISSING (Analyze), E_DTYPE or
    E_NDIM.
    """
    sized = header_size(stream.peek(4))
    if sized is None:
        raise _invalid("sizeof_hdr is neither 348 nor 540")
    size, order = sized
    raw = stream.peek(size)
    if len(raw) < size:
        raise StudyError("E_TRUNCATED", f"the header ends after {len(raw)} of {size} bytes")
    layout = (NIFTI1 if size == 348 else NIFTI2).newbyteorder(order)
    fields = np.frombuffer(raw, layout)[0]
    single = _single(fields["magic"].tobytes(), size, pair_name)
    stream.skip(size)
    dims = _dims(fields["dim"].tolist())
    dtype, cautions = _dtype(int(fields["datatype"]), int(fields["bitpix"]))
    slope, inter, more = _scaling(float(fields["scl_slope"]), float(fields["scl_inter"]))
    return NiftiHeader(
        version=1 if size == 348 else 2,
        single=single,
        order=order,
        fields=fields,
        dims=dims,
        dtype=dtype.newbyteorder(order),
        voxels_at=_voxels_at(float(fields["vox_offset"]), size + 4 if single else 0),
        slope=slope,
        inter=inter,
        cautions=cautions + more,
    )


def _invalid(message: str) -> StudyError:
    return StudyError("E_HEADER_INVALID", message)


def _single(magic: bytes, size: int, pair_name: bool) -> bool:
    known = _MAGIC.get(magic)
    if known is not None:
        return known
    if size == 348 and (pair_name or not magic.strip(b"\0")):
        raise StudyError(
            "E_GEOMETRY_MISSING",
            "is an Analyze 7.5 header, which does not say where left is; convert it to NIfTI"
            " from the original",
        )
    raise _invalid(f"the NIfTI magic is {magic.hex(' ')}; was the file sent as text?")


def _dims(dim: list[int]) -> tuple[int, ...]:
    count = dim[0]
    if not 1 <= count <= 7:
        raise _invalid(f"dim[0] is {count}, and an image has 1 to 7 dimensions")
    sides = tuple(dim[1 : count + 1])
    if min(sides) < 1:
        raise _invalid(f"a side has {min(sides)} voxels (dim {list(sides)})")
    if count == 1 or any(side > 1 for side in sides[4:]):
        raise StudyError(
            "E_NDIM", f"has the shape {sides}; a scan has 2 or 3 dimensions, or 4 with frames"
        )
    return sides


def _dtype(datatype: int, bitpix: int) -> tuple[np.dtype[Any], tuple[Caution, ...]]:
    if datatype not in DATATYPES:
        told = _REFUSED.get(datatype, f"of the unknown type {datatype}")
        raise StudyError("E_DTYPE", f"holds voxels {told}")
    dtype = np.dtype(DATATYPES[datatype])
    bits = 8 * dtype.itemsize
    if bitpix == bits:
        return dtype, ()
    told = f"bitpix is {bitpix} where {dtype.name} has {bits}; the datatype was believed"
    return dtype, (Caution("W_BITPIX", told),)


def _scaling(slope: float, inter: float) -> tuple[float, float, tuple[Caution, ...]]:
    if slope == 0:
        if inter == 0:
            return 1.0, 0.0, ()
        told = f"scl_inter {inter:g} was left out, as scl_slope 0 means no scaling"
        return 1.0, 0.0, (Caution("W_SCALING", told),)
    if not (isfinite(slope) and isfinite(inter)):
        raise StudyError("E_SCALING", f"scl_slope is {slope:g} and scl_inter {inter:g}")
    return slope, inter, ()


def _voxels_at(offset: float, least: int) -> int:
    if not (isfinite(offset) and offset == round(offset) and offset >= least):
        raise _invalid(
            f"vox_offset is {offset:g}; voxels begin at a whole byte from {spaced(least)} on"
        )
    return int(offset)
