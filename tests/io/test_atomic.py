"""Files that are there whole or not at all, whichever call fails."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from medseg.errors import OutputError
from medseg.io import naming_faults, remove_leftovers, write_atomically

OLD, NEW = b"what was there", b"what shall be there" * 1000
CALLS = ("open", "write", "fsync", "read", "close", "replace")
FAULTS = {
    errno.ENOSPC: "E_DISK_FULL",
    errno.EDQUOT: "E_DISK_FULL",
    errno.EACCES: "E_PERMISSION",
    errno.EROFS: "E_PERMISSION",
    errno.EIO: "E_VERIFY",
    errno.ESTALE: "E_VERIFY",
}


def failing(real: Callable[..., Any], at: int, number: int) -> Callable[..., Any]:
    """``real``, but its ``at``-th call fails."""
    count = 0

    def call(*args: Any, **options: Any) -> Any:
        nonlocal count
        count += 1
        if count == at:
            if real is os.close:
                real(*args)
            raise OSError(number, os.strerror(number))
        return real(*args, **options)

    return call


def test_what_is_written_is_there_and_its_digest_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "a.json"
    assert write_atomically(path, NEW) == sha256(NEW).hexdigest()
    assert path.read_bytes() == NEW
    assert [entry.name for entry in path.parent.iterdir()] == ["a.json"]


@pytest.mark.parametrize("data", [b"", b"x", bytes(3 << 20)])
def test_every_size_is_written(tmp_path: Path, data: bytes) -> None:
    write_atomically(tmp_path / "a", data)
    assert (tmp_path / "a").read_bytes() == data


def test_the_mode_is_that_of_any_new_file(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a", NEW)
    (tmp_path / "b").write_bytes(NEW)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "ab"]
    assert modes[0] == modes[1]


@pytest.mark.parametrize("number", FAULTS, ids=lambda number: errno.errorcode[number])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("at", [1, 2, 3])
def test_whatever_fails_the_old_file_or_the_new_one_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, call: str, at: int
) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(OLD)
    with monkeypatch.context() as patch:
        if call == "replace":
            patch.setattr(Path, "replace", failing(Path.replace, at, number))
        else:
            patch.setattr(f"medseg.io.atomic.os.{call}", failing(getattr(os, call), at, number))
        try:
            write_atomically(path, NEW)
            failed = None
        except OutputError as error:
            failed = error
    assert path.read_bytes() in (OLD, NEW)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.nii.gz"]
    if failed is None:
        assert path.read_bytes() == NEW
    else:
        assert failed.code == FAULTS[number]
        assert failed.path == str(path)
    if at == 1:
        assert failed is not None
        assert path.read_bytes() == OLD


def test_short_writes_are_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(
        "medseg.io.atomic.os.write", lambda where, data: real(where, bytes(data[:7]))
    )
    write_atomically(tmp_path / "a", NEW)
    assert (tmp_path / "a").read_bytes() == NEW


@pytest.mark.parametrize("wrong", [NEW[:-1], NEW + b"x", b"y" + NEW[1:]])
def test_what_reads_back_otherwise_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: bytes
) -> None:
    monkeypatch.setattr("medseg.io.atomic._read", lambda *_: wrong)
    with pytest.raises(OutputError, match="E_VERIFY"):
        write_atomically(tmp_path / "a", NEW)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_grew_is_seen_when_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write

    def twice(where: int, data: memoryview) -> int:
        real(where, b"more")
        return real(where, data)

    monkeypatch.setattr("medseg.io.atomic.os.write", twice)
    with pytest.raises(OutputError, match="E_VERIFY"):
        write_atomically(tmp_path / "a", NEW)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("medseg.io.atomic.os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a", NEW)
    assert list(tmp_path.iterdir()) == []


def test_a_file_system_that_syncs_no_folders_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medseg.io.atomic.os.fsync", failing(os.fsync, 2, errno.EINVAL))
    write_atomically(tmp_path / "a", NEW)
    assert (tmp_path / "a").read_bytes() == NEW


def test_a_link_is_replaced_and_what_it_points_to_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(OLD)
    (tmp_path / "a").symlink_to(tmp_path / "elsewhere")
    write_atomically(tmp_path / "a", NEW)
    assert not (tmp_path / "a").is_symlink()
    assert (tmp_path / "elsewhere").read_bytes() == OLD


def test_names_that_no_file_can_have_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(OLD)
    for path in (tmp_path / "folder", tmp_path / ("x" * 300), tmp_path / "file" / "a"):
        with pytest.raises(OutputError, match="E_OUTPUT_NAME"):
            write_atomically(path, NEW)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "folder"]


def test_leftovers_of_a_killed_run_are_removed_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    killed = tmp_path / "masks" / ".medseg-0123456789ab.tmp"
    killed.write_bytes(OLD)
    kept = [tmp_path / "masks" / "a.nii.gz", tmp_path / ".medseg.lock", tmp_path / "b.tmp"]
    for path in kept:
        path.write_bytes(OLD)
    assert remove_leftovers(tmp_path) == (killed,)
    assert not killed.exists()
    assert all(path.exists() for path in kept)


@pytest.mark.parametrize(("number", "code"), FAULTS.items())
def test_what_a_disk_does_is_named_wherever_it_happens(number: int, code: str) -> None:
    with pytest.raises(OutputError, match=rf"{code} there: "), naming_faults():
        raise OSError(number, os.strerror(number), "there")
    with pytest.raises(OutputError, match=f"{code}: "), naming_faults():
        raise OSError(number, os.strerror(number))


def test_a_file_that_is_not_there_is_a_mistake_of_the_program() -> None:
    with pytest.raises(FileNotFoundError), naming_faults():
        raise FileNotFoundError(errno.ENOENT, "gone", "there")
