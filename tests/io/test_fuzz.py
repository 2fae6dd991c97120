"""Whatever a header says, a file ends as a scan or as a named error."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.image_bytes import META, NRRD, RAW, gz, nifti, nifti2, text_image

from medseg.errors import StudyError
from medseg.image import Study
from medseg.io import ReadOptions, read_label_values, read_scan

Result = TypeVar("Result")
WHOLE = {
    "a.nii": nifti(),
    "b.nii": nifti2(),
    "a.nii.gz": gz(nifti()),
    "a.nrrd": text_image(NRRD, {}),
    "b.nrrd": text_image(NRRD, {"raw": "gzip"}, gz(RAW)),
    "a.mha": text_image(META, {}),
}
WORDS = [b"\xff\xff\xff\x7f", b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\0\0\0\x80", b"nan ", b"1e99"]
OPTIONS = [
    ReadOptions(),
    ReadOptions("fill", "sform", "each", memory_gib=0.1),
    ReadOptions("fill", "qform", "each", memory_gib=0.1),
]


def tried(read: Callable[[], Result]) -> tuple[Result | None, StudyError | None]:
    """What is read, or the error that is named; anything else flies."""
    try:
        return read(), None
    except StudyError as error:
        return None, error


@settings(deadline=None, max_examples=400)
@given(
    name=st.sampled_from(sorted(WHOLE)),
    changes=st.lists(
        st.tuples(st.integers(0, 555), st.binary(min_size=1, max_size=1) | st.sampled_from(WORDS)),
        min_size=1,
        max_size=4,
    ),
    cut=st.none() | st.integers(1, 900),
    options=st.sampled_from(OPTIONS),
)
def test_a_damaged_file_ends_in_a_scan_or_a_named_error(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    changes: list[tuple[int, bytes]],
    cut: int | None,
    options: ReadOptions,
) -> None:
    data = bytearray(WHOLE[name])
    for place, new in changes:
        if place + len(new) <= len(data):
            data[place : place + len(new)] = new
    path = tmp_path_factory.mktemp("fuzz") / name
    path.write_bytes(data[:cut])
    scan, error = tried(lambda: read_scan(Study("a", (path,)), options))
    if scan is None:
        assert error is not None
        assert error.path is not None
        assert error.code.startswith("E_")
    else:
        assert all(np.isfinite(frame.data).all() for frame in scan.frames)
        assert all(0.0099 < mm < 100.1 for mm in scan.frames[0].grid.spacing_mm)
    values, error = tried(lambda: read_label_values(path, options))
    assert values is not None or (error is not None and error.path is not None)
