"""From a path to what its header says: one function a format, chosen by content."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import Caution, StudyError
from medseg.io.described import Described
from medseg.io.kinds import GZIP, HEAD, Kind, kind_of, named
from medseg.io.metaimage import describe_meta
from medseg.io.nifti_describe import PAIR_DATA, PAIR_HEADER, describe_nifti, stem_of
from medseg.io.nrrd import describe_nrrd
from medseg.io.stream import ByteStream, FileStream, Unpacked

_PARSERS = {"nifti": describe_nifti, "nrrd": describe_nrrd, "meta": describe_meta}
_SUFFIXES = {
    ("nifti", False): (".nii", ".hdr"),
    ("nifti", True): (".nii.gz", ".hdr.gz"),
    ("nrrd", False): (".nrrd", ".nhdr"),
    ("meta", False): (".mha", ".mhd"),
}
_WORDS = {"nifti": "NIfTI", "nrrd": "NRRD", "meta": "MetaImage"}


@dataclass(frozen=True)
class Found:
    """A header's contents, the stream its voxels are in, and the files they came from."""

    what: Described
    stream: ByteStream
    files: tuple[FileStream, ...]
    cautions: tuple[Caution, ...]


def described(path: Path, stack: ExitStack) -> Found:
    """Open an image's file or files (closed by ``stack``) and read its header.

    Raises StudyError E_NOT_FOUND, E_NOT_A_FILE, E_EMPTY_FILE, E_PERMISSION, E_NOT_AN_IMAGE,
    E_TRUNCATED, E_CORRUPT_GZIP, and what the format's own reader finds wrong.
    """
    beside = _header_beside(path)
    file = stack.enter_context(FileStream(beside or path))
    stream, kind = _begun(file)
    if kind is None:
        if path.name.lower().endswith(PAIR_DATA) and beside is None:
            raise StudyError("E_NOT_FOUND", f"its header {stem_of(path).name}.hdr is not there")
        raise _no_image(stream)
    packed = stream is not file
    what = _PARSERS[kind](stream, file.path)
    cautions = _suffix_cautions(file.path, kind, packed)
    files: tuple[FileStream, ...] = (file,)
    if what.data_file is not None:
        other = stack.enter_context(_voxels_in(what.data_file))
        stream, files = other, (file, other)
    return Found(what, _unpacked(stream, what), files, cautions)


def _voxels_in(data_file: Path) -> FileStream:
    try:
        return FileStream(data_file)
    except StudyError as error:
        told = f"its voxels are looked for in {data_file.name!r}: {error.message}"
        raise StudyError(error.code, told) from None


def _begun(file: FileStream) -> tuple[ByteStream, Kind | None]:
    """The stream to read the header from; a kind of None is no image."""
    kind = kind_of(file.peek(HEAD))
    if kind != "gzip":
        return file, kind
    inside = Unpacked(file, "gzip")
    kind = kind_of(inside.peek(HEAD))
    if kind is None and inside.cut:
        raise StudyError("E_TRUNCATED", "ends within its header; copy the file again")
    return inside, kind if kind == "nifti" else None


def _no_image(stream: ByteStream) -> StudyError:
    head, packed = stream.peek(HEAD), isinstance(stream, Unpacked)
    kind = kind_of(head)
    if kind in ("nrrd", "meta"):
        return StudyError("E_NOT_AN_IMAGE", f"is {_WORDS[kind]} packed with gzip; unpack it first")
    return StudyError("E_NOT_AN_IMAGE", named(head, packed))


def _unpacked(stream: ByteStream, what: Described) -> ByteStream:
    if what.packing == "plain":
        return stream
    if what.packing != "perhaps gzip":
        return Unpacked(stream, what.packing)
    # Voxels may begin with the two bytes of gzip by chance; then there are just enough of them.
    plain = stream.room == what.skip + what.bytes or not stream.peek(3).startswith(GZIP + b"\x08")
    return stream if plain else Unpacked(stream, "gzip")


def _header_beside(path: Path) -> Path | None:
    """The .hdr of an .img, where there is one."""
    if not path.name.lower().endswith(PAIR_DATA):
        return None
    stem = stem_of(path)
    names = [stem.name + ending for ending in PAIR_HEADER]
    there = (stem.with_name(spelt) for name in names for spelt in (name, name.upper()))
    return next((place for place in there if place.exists()), None)


def _suffix_cautions(path: Path, kind: Kind, packed: bool) -> tuple[Caution, ...]:
    if path.name.lower().endswith(_SUFFIXES[kind, packed]):
        return ()
    told = f"{path.name} is {_WORDS[kind]}, {'' if packed else 'not '}packed with gzip"
    return (Caution("W_SUFFIX", f"{told}, whatever its name says"),)
