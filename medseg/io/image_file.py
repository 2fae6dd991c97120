"""A scan's file, opened and believed so far: its header holds, and its voxels can be there.

The steps of the strict door up to the voxels, in their order: a regular file, the kind by its
first bytes, header fields in range, what is claimed against what the file can hold, geometry.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from medseg.errors import Caution, StudyError
from medseg.io.described import Described
from medseg.io.formats import described
from medseg.io.geometry import Geometry
from medseg.io.options import ReadOptions
from medseg.io.sizes import by, in_bytes, spaced
from medseg.io.stream import ByteStream, FileStream, Unpacked

MOST_TRAILING = 1 << 30
"""More than this behind the voxels is not read through in search of a checksum."""


@dataclass(frozen=True)
class ImageFile:
    """A header that was read and checked, and the stream that stands at its first voxel.

    ``begins`` is the byte, in the unpacked stream, at which voxels begin.
    """

    path: Path
    what: Described
    geometry: Geometry
    stream: ByteStream
    begins: int
    files: tuple[FileStream, ...]
    cautions: tuple[Caution, ...]

    def finish(self) -> tuple[Caution, ...]:
        """Read on to the end and its checksum; what stands there that no header speaks of.

        Raises StudyError E_TRUNCATED, E_CORRUPT_GZIP, or E_HEADER_INVALID where there is no
        end to it.
        """
        surplus = self.stream.skip(MOST_TRAILING)
        if surplus == MOST_TRAILING:
            raise StudyError(
                "E_HEADER_INVALID",
                f"more than {in_bytes(surplus)} follow the voxels that the header speaks of",
            )
        if isinstance(self.stream, Unpacked):
            if not self.stream.ended:
                raise StudyError(
                    "E_TRUNCATED", "ends behind the voxels, within the checksum; copy it again"
                )
            surplus += self.stream.left_over
        if not surplus:
            return ()
        told = f"{spaced(surplus)} bytes follow the voxels; they were left out"
        return (Caution("W_TRAILING_BYTES", told),)

    def digests(self) -> dict[Path, str]:
        """The SHA-256 of each file that belongs to the image."""
        return {file.path: file.digest() for file in self.files}


@contextmanager
def opened(
    path: Path, options: ReadOptions, taken: float = 0, copies: int = 1
) -> Iterator[ImageFile]:
    """Open an image and check everything that can be known before its voxels are read.

    ``taken`` bytes are in use already and ``copies`` images of this size will be held: both
    count towards ``options.memory_gib``. Raises StudyError with the code of what is wrong.
    """
    with naming(path), ExitStack() as stack:
        found = described(path, stack)
        what = found.what
        if what.frames[3] > 1 and options.frames == "refuse":
            raise StudyError(
                "E_NDIM",
                f"has {what.frames[3]} frames of {by(what.frames[:3])} voxels; set input:"
                " {frames: each} to segment every frame",
            )
        _refuse_short(found.stream, what)
        options.refuse_large(what.voxels, taken, copies)
        geometry, cautions = what.locate(options)
        begins = found.stream.position + what.skip
        found.stream.skip(what.skip)
        cautions = found.cautions + what.cautions + cautions
        yield ImageFile(path, what, geometry, found.stream, begins, found.files, cautions)


def files_of(path: Path) -> tuple[Path, ...]:
    """The files that make up an image: itself, or both of a pair."""
    with naming(path), ExitStack() as stack:
        return tuple(file.path for file in described(path, stack).files)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors raised inside that name no file are about this one."""
    try:
        yield
    except StudyError as error:
        if error.path is not None:
            raise
        raise StudyError(error.code, error.message, path) from None
    except MemoryError:
        raise StudyError("E_MEMORY", "there is not enough memory to read it", path) from None


def ends_after(there: int, wanted: int) -> str:
    """How a truncated file is spoken of."""
    if wanted > 1000 * there:
        return f"the header speaks of {in_bytes(wanted)}, the file holds {in_bytes(there)}"
    return f"ends after {spaced(there)} of {spaced(wanted)} bytes; copy the file again"


def _refuse_short(stream: ByteStream, what: Described) -> None:
    claimed = stream.position + what.skip + what.bytes
    most = stream.position + stream.room
    if claimed <= most:
        return
    if isinstance(stream, Unpacked):
        raise StudyError(
            "E_TRUNCATED",
            f"the header speaks of {in_bytes(claimed)}, and the file can hold at most"
            f" {in_bytes(most)}; copy the file again",
        )
    raise StudyError("E_TRUNCATED", ends_after(most, claimed))
