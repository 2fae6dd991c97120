"""A process of its own that unpacks pixels: what breaks or is broken into here holds nothing.

Started as a script by ``pixels.py``; imports nothing of medseg. It is told on its standard input,
in JSON, which frames of which files are wanted, and writes each as ``rows * columns`` numbers,
after a byte 0; or a byte 1 and a line with a code and a sentence, and ends. What it has to write
to a disk goes to a folder that whoever started it removes, as it may be killed at any moment.
"""

from __future__ import annotations

import errno
import json
import logging
import resource
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

JPEG = {
    "1.2.840.10008.1.2.4.50",
    "1.2.840.10008.1.2.4.51",
    "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70",
}
NATIVE = {
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
}


class FaultError(Exception):
    """A code and a sentence, neither of which quotes the file."""

    def __init__(self, code: str, told: str) -> None:
        super().__init__(code, told)
        self.code, self.told = code, told


def limited(memory: int, seconds: int) -> None:
    """No more memory, time, files or room on the disk than the pixels can need."""
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, memory),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        resource.setrlimit(what, (most if hard < 0 else min(most, hard), hard))


def opened(path: str) -> Any:
    """The whole dataset of a file."""
    from pydicom import dcmread

    try:
        return dcmread(path, force=True)
    except EOFError:
        raise FaultError("E_TRUNCATED", "ends within its pixels; copy it again") from None
    except FileNotFoundError:
        raise FaultError("E_NOT_FOUND", "is no longer there") from None
    except OSError as error:
        raise FaultError("E_PERMISSION", f"cannot be read ({error.strerror})") from None


def frame_of(found: Any, index: int, said: dict[str, Any]) -> Any:
    """One frame (rows, columns) as its header has it."""
    import numpy as np

    if "PixelData" not in found:
        raise FaultError("E_TRUNCATED", "has no pixels; it ends before them, or never had any")
    syntax = (
        str(found.file_meta.TransferSyntaxUID)
        if "TransferSyntaxUID" in (getattr(found, "file_meta", None) or {})
        else "1.2.840.10008.1.2"
    )
    if syntax in NATIVE:
        frames = int(found.get("NumberOfFrames") or 1)
        bits = found.Rows * found.Columns * frames * found.BitsAllocated
        wanted, there = -(-bits // 8), len(found.PixelData)
        if there < wanted:
            told = f"ends after {there} of {wanted} bytes of pixels; copy it again"
            raise FaultError("E_TRUNCATED", told)
    try:
        frame = unpacked(found, index, syntax, said["folder"])
    except (MemoryError, FaultError):
        raise
    except Exception as error:
        told = f"its pixels cannot be unpacked ({type(error).__name__})"
        raise FaultError("E_DICOM_SYNTAX", told) from None
    frame = np.asarray(frame)
    if frame.shape != (said["rows"], said["columns"]):
        raise FaultError("E_HEADER_INVALID", "its pixels have another shape than its header says")
    return np.ascontiguousarray(frame.astype(said["dtype"], casting="same_kind"))


def unpacked(found: Any, index: int, syntax: str, folder: str | None) -> Any:
    """A frame by whoever reads its form; ``folder`` is for temporary files."""
    if syntax in NATIVE and found.BitsAllocated == 1:
        return by_bits(found, index)
    return by_itk(found, index, folder) if syntax in JPEG else by_pydicom(found, index, syntax)


def by_bits(found: Any, index: int) -> Any:
    """A frame of single bits, which begins within a byte where frames are no whole bytes."""
    import numpy as np

    size = int(found.Rows) * int(found.Columns)
    begin, end = index * size, (index + 1) * size
    packed = np.frombuffer(found.PixelData, np.uint8)[begin // 8 : -(-end // 8)]
    bits = np.unpackbits(packed, bitorder="little")
    return bits[begin % 8 : begin % 8 + size].reshape(found.Rows, found.Columns)


def by_pydicom(found: Any, index: int, syntax: str) -> Any:
    """A frame by the decoders that pydicom knows: native, RLE, JPEG-LS, JPEG 2000."""
    from pydicom.pixels import get_decoder

    frame, _ = get_decoder(syntax).as_array(found, index=index, raw=True)
    return frame


def by_itk(found: Any, index: int, folder: str | None) -> Any:
    """A frame of JPEG (baseline, extended, lossless) by the GDCM that is in SimpleITK.

    It is given a file of one frame with nothing in it but the form of the pixels.
    """
    import numpy as np
    import SimpleITK
    from pydicom.encaps import encapsulate, get_frame

    count = int(found.get("NumberOfFrames") or 1)
    data = get_frame(found.PixelData, index, number_of_frames=count)
    SimpleITK.ProcessObject.GlobalWarningDisplayOff()
    if folder is None:
        told = (
            "is JPEG, which wants temporary files, and no folder can be made for them; set TMPDIR"
        )
        raise FaultError("E_PERMISSION", told)
    path = f"{folder}/frame.dcm"
    try:
        written(bare(found, encapsulate([data])), path)
        frame = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path))
    finally:
        with suppress(OSError):
            Path(path).unlink()
    return np.squeeze(frame)


def written(made: Any, path: str) -> None:
    """Write a dataset to where temporary files go."""
    try:
        made.save_as(path, enforce_file_format=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            told = "there is no room for temporary files; make some, or set TMPDIR"
            raise FaultError("E_DISK_FULL", told) from None
        told = f"temporary files cannot be written ({error.strerror}); set TMPDIR"
        raise FaultError("E_PERMISSION", told) from None


def bare(found: Any, data: bytes) -> Any:
    """A dataset with pixels and their form, and nothing else."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, generate_uid

    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = found.file_meta.TransferSyntaxUID
    made.SOPClassUID = CTImageStorage
    made.SOPInstanceUID = generate_uid()
    for name in ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit"):
        setattr(made, name, found[name].value)
    made.PixelRepresentation = found.PixelRepresentation
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.PixelData = data
    made["PixelData"].is_undefined_length = True
    return made


def work() -> None:
    """Read the order, and answer it."""
    said = json.loads(sys.stdin.buffer.read())
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    limited(said["memory"], said["seconds"])
    out = sys.stdout.buffer
    last, found = None, None
    for path, index in said["frames"]:
        try:
            if path != last:
                found = None
                found, last = opened(path), path
            frame = frame_of(found, index, said)
        except FaultError as fault:
            out.write(b"\1" + f"{fault.code} {fault.told}\n".encode("ascii", "replace"))
            break
        except MemoryError:
            out.write(b"\1E_TOO_LARGE its pixels need more memory than its header speaks of\n")
            break
        except Exception as error:
            told = f"E_DICOM_SYNTAX its pixels cannot be read ({type(error).__name__})\n"
            out.write(b"\1" + told.encode("ascii", "replace"))
            break
        out.write(b"\0")
        out.write(frame.data)
    out.flush()


if __name__ == "__main__":
    work()
