"""What a file is, told by its first bytes and never by its name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal

Kind = Literal["gzip", "nifti", "nrrd", "meta"]
HEAD = 512
"""So many bytes tell."""

GZIP = b"\x1f\x8b"
_HEADER_SIZES = (348, 540)
_META = re.compile(rb"\s*(ObjectType|ObjectSubType|NDims|Comment)\s*=")
_FOREIGN: Sequence[tuple[int, bytes, str]] = (
    (0, b"version https://git-lfs", "is a Git LFS pointer, not a scan; run git lfs pull"),
    (0, b"PK\x03\x04", "is a zip archive, not a scan; unpack it first"),
    (0, b"PK\x05\x06", "is an empty zip archive, not a scan"),
    (128, b"DICM", "is a DICOM file; give the folder of its series"),
    (0, b"\x89PNG", "is a PNG picture without a place in the patient, not a scan"),
    (0, b"\xff\xd8\xff", "is a JPEG picture without a place in the patient, not a scan"),
    (0, b"II*\x00", "is a TIFF picture without a place in the patient, not a scan"),
    (0, b"MM\x00*", "is a TIFF picture without a place in the patient, not a scan"),
    (0, b"%PDF", "is a PDF document, not a scan"),
    (0, b"\x93NUMPY", "is a NumPy array without a place in the patient; save it as NIfTI"),
    (0, b"\x89HDF", "is an HDF5 or MINC 2 file; convert it to NIfTI first"),
    (0, b"BZh", "is packed with bzip2; unpack it first"),
    (0, b"\xfd7zXZ", "is packed with xz; unpack it first"),
    (0, b"\x28\xb5\x2f\xfd", "is packed with zstd; unpack it first"),
    (0, b"7z\xbc\xaf", "is a 7z archive, not a scan; unpack it first"),
    (257, b"ustar", "is a tar archive, not a scan; unpack it first"),
    (0, b"\x00\x00\x00\x01\x00\x00", "seems to be a FreeSurfer MGH file; convert it to NIfTI"),
)
_MARKUP = (b"<!doctype html", b"<html", b"<head", b"<script")


def kind_of(head: bytes) -> Kind | None:
    """The kind of image that begins so, ``gzip`` for a packed file, None for another thing."""
    if head.startswith(GZIP):
        return "gzip"
    if head.startswith(b"NRRD000"):
        return "nrrd"
    if header_size(head) is not None or head[344:348] in (b"n+1\0", b"ni1\0"):
        return "nifti"
    return "meta" if _META.match(head) else None


def header_size(head: bytes) -> tuple[int, Literal["<", ">"]] | None:
    """The size that a NIfTI or Analyze header gives itself, and the byte order it is in."""
    for size in _HEADER_SIZES:
        if head[:4] == size.to_bytes(4, "little"):
            return size, "<"
        if head[:4] == size.to_bytes(4, "big"):
            return size, ">"
    return None


def named(head: bytes, packed: bool) -> str:
    """What a file is that is none of ours, and what to do about it, in words."""
    where = "inside gzip, " if packed else ""
    if head.startswith(GZIP):
        return "is packed with gzip twice; unpack it once"
    for place, mark, words in _FOREIGN:
        if head[place : place + len(mark)] == mark:
            return where + words
    if head.lstrip().lower().startswith(_MARKUP):
        return where + "is a web page (perhaps of a log-in), not a scan; download it again"
    if head.lstrip().startswith(b"<?xml"):
        return where + "is an XML text, not a scan"
    if not head:
        return "is gzip with nothing inside; copy the file again"
    if not head.strip(b"\0"):
        return where + "begins with nothing but zeros; copy the file again"
    form = "a text" if _is_text(head) else f"bytes {head[:6].hex(' ')} at its beginning"
    return where + f"is {form}, no NIfTI, NRRD or MetaImage"


def _is_text(head: bytes) -> bool:
    return all(byte >= 32 or byte in b"\t\r\n\f" for byte in head) and head.isascii()
