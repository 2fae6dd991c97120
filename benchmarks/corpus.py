"""The corpus of bad and odd scans beside nibabel, SimpleITK and MONAI.

    python benchmarks/corpus.py [--docs docs/reliability.md] [--rows rows.csv]

Each file is read by each reader in a process of its own, with 12 GiB; it hangs where it works for
60 seconds, or does nothing for as long. A reader is tried on the formats that it is made for.
``--docs`` puts the table between its two marks, ``--rows`` writes how each row ended.
"""

from __future__ import annotations

import argparse
import csv
import os
import pickle
import resource
import select
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support.corpus import CASES, Case

Read = Callable[[Path], tuple[Any, Any]]
SECONDS, MEMORY = 60, 12 << 30
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
NIFTI = (".nii", ".gz", ".hdr", ".img")
CLASSES = ("right", "clear error", "vague error", "wrong, warned", "wrong, silent")
LAST = ("crash", "hang", "choice")
CHOICES = ("E_NONFINITE", "E_NDIM", "E_DTYPE", "E_SCALING", "E_GEOMETRY_CONFLICT", "E_DICOM_MIXED")
"""What medseg refuses by choice: a reader that hands it on has done nothing wrong."""
CHOSEN = ("voxels of a micron", "millimetres called metres", "pixdim of a kilometre")
NOISE = ("nvImageCodec", "NvImgCodec", "warnings.warn(")
MARKS = ("<!-- corpus: begin -->\n", "<!-- corpus: end -->\n")


def by_nibabel() -> Read:
    """nibabel, as its manual does."""
    import nibabel as nib

    def read(path: Path) -> tuple[Any, Any]:
        image = nib.load(path)
        return np.asarray(image.dataobj), image.affine

    return read


def by_simpleitk() -> Read:
    """SimpleITK: a file, or the first series of a folder."""
    import SimpleITK as sitk  # noqa: N813

    def read(path: Path) -> tuple[Any, Any]:
        if path.is_dir():
            reader = sitk.ImageSeriesReader()
            reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
            image = reader.Execute()
        else:
            image = sitk.ReadImage(str(path))
        size = image.GetDimension()
        affine = np.eye(4)
        turn = np.array(image.GetDirection()).reshape(size, size) * image.GetSpacing()
        sides = min(size, 3)
        affine[:sides, :sides] = turn[:sides, :sides]
        affine[:sides, 3] = image.GetOrigin()[:sides]
        values = sitk.GetArrayFromImage(image)
        last = values.ndim - size
        return values.transpose(
            *range(size - 1, -1, -1), *range(size, size + last)
        ), TO_RAS @ affine

    return read


def by_monai() -> Read:
    """MONAI's LoadImage, with its reader for DICOM where that is wanted."""
    from monai.transforms import LoadImage

    def read(path: Path) -> tuple[Any, Any]:
        kind = None if path.name.lower().endswith(NIFTI) else "PydicomReader"
        image = LoadImage(reader=kind, image_only=True)(path)
        return image.numpy(), image.affine.numpy()

    return read


def by_medseg() -> Read:
    """medseg's door."""
    from medseg.image import Study
    from medseg.io import read_scan

    def read(path: Path) -> tuple[Any, Any]:
        volume = read_scan(Study("a", (path,))).volume
        return volume.data[0], volume.grid.affine

    return read


READERS: dict[str, tuple[Callable[[], Read], Callable[[Path], bool]]] = {
    "medseg": (by_medseg, lambda _: True),
    "nibabel": (by_nibabel, lambda path: path.name.lower().endswith(NIFTI)),
    "SimpleITK": (by_simpleitk, lambda _: True),
    "monai": (
        by_monai,
        lambda path: path.name.lower().endswith((*NIFTI, ".dcm")) or path.name == "ct",
    ),
}


def tried(case: Case, read: Read, path: Path) -> str:
    """The class of how a reader fared, in a process that may crash or hang."""
    out, into = os.pipe()
    child = os.fork()
    if not child:
        os.close(out)
        _in_child(case, read, path, into)
    os.close(into)
    data, worked, since, hung = b"", 0.0, time.monotonic(), False
    while not hung:
        if select.select([out], [], [], 0.5)[0]:
            part = os.read(out, 1 << 16)
            if not part:
                break
            data += part
        elif (now := _spent(child)) > worked + 0.05:
            worked, since = now, time.monotonic()
        hung = worked > SECONDS or time.monotonic() - since > SECONDS
    if hung:
        os.kill(child, signal.SIGKILL)
    os.close(out)
    _, status = os.waitpid(child, 0)
    if hung:
        return "hang"
    return str(pickle.loads(data)) if data and not os.WIFSIGNALED(status) else "crash"


def _spent(child: int) -> float:
    """Seconds of the processor that a child has had."""
    try:
        return time.clock_gettime((~child << 3) | 2)
    except OSError:
        return float("inf")


def _in_child(case: Case, read: Read, path: Path, into: int) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            values, affine = read(path)
            found = _class_of(case, np.asarray(values), np.asarray(affine), _length(said.fileno()))
        except BaseException as error:
            told = f"{error}"
            named = path.name in told or path.parent.name in told.split("/")
            found = "clear error" if named else "vague error"
    os.write(into, pickle.dumps(found))
    os._exit(0)


def _length(descriptor: int) -> int:
    """How many lines were said, without those that MONAI says of every file."""
    sys.stderr.flush()
    os.lseek(descriptor, 0, os.SEEK_SET)
    lines = os.read(descriptor, 1 << 16).decode(errors="replace").splitlines()
    return sum(not any(word in line for word in NOISE) for line in lines)


def _class_of(case: Case, values: Any, affine: Any, said: int) -> str:
    if case.truth is not None:
        small = values.size < 1 << 22
        if small and np.isfinite(affine).all() and case.truth.agrees(values, affine):
            return "right"
    elif case.ends in CHOICES or case.name in CHOSEN:
        return "choice"
    return "wrong, warned" if said else "wrong, silent"


def table(found: dict[str, Counter[str]], count: int) -> str:
    """Markdown."""
    head = ("reader", "rows", *CLASSES, *LAST[:2], "handed on")
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for name, ends in found.items():
        cells = [f"{name} {version(name)}", str(ends.total())]
        cells += [str(ends[one]) for one in (*CLASSES, *LAST)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([f"{count} scans and series of the corpus, read one by one:\n", *lines, ""])


def main() -> None:
    """Read everything with everything, and tell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docs", type=Path)
    parser.add_argument("--rows", type=Path)
    asked = parser.parse_args()
    cases = [case for case in CASES if case.kind in ("scan", "series")]
    found: dict[str, Counter[str]] = {}
    rows = [("row", "must end", *READERS)]
    ends: dict[str, dict[str, str]] = {str(case): {} for case in cases}
    with tempfile.TemporaryDirectory() as name:
        paths = {}
        for number, case in enumerate(cases):
            folder = Path(name, f"{number:03d}")
            folder.mkdir()
            made = case.make(folder)
            inside = [made / one for one in ("ct", "e.dcm") if (made / one).exists()]
            paths[case] = inside[0] if case.kind == "series" else made
        for reader, (make, takes) in READERS.items():
            read, found[reader] = make(), Counter()
            for case, path in paths.items():
                if takes(path):
                    ends[str(case)][reader] = tried(case, read, path)
                    found[reader][ends[str(case)][reader]] += 1
    rows += [
        (str(case), case.ends, *(ends[str(case)].get(one, "") for one in READERS)) for case in cases
    ]
    told = table(found, len(cases))
    print(told)
    if asked.rows:
        with asked.rows.open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    if asked.docs:
        before, rest = asked.docs.read_text().split(MARKS[0])
        after = rest.split(MARKS[1])[1]
        asked.docs.write_text(f"{before}{MARKS[0]}{told}{MARKS[1]}{after}")


if __name__ == "__main__":
    main()
