"""What ``medseg doctor`` finds on machines that are not this one."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest

from medseg.cli import machine

CPU = "processor : 0\nflags : fpu avx2 avx512_bf16 amx_bf16 other\n\nFeatures : asimd\n"


def test_flags_that_make_networks_fast_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpuinfo").write_text(CPU)
    monkeypatch.setattr(machine, "_PROCESSOR", tmp_path / "cpuinfo")
    found = dict(machine.findings())
    assert found["processor"].endswith(" cores, avx2 avx512_bf16 amx_bf16 asimd")


def test_a_system_that_does_not_tell_its_flags_has_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "_PROCESSOR", tmp_path / "none")
    monkeypatch.delattr("os.sched_getaffinity", raising=False)
    assert dict(machine.findings())["processor"].endswith(" cores")


def test_what_is_not_installed_is_named_with_the_command_that_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(machine, "version", missing)
    found = dict(machine.findings())
    assert found["matplotlib"] == "not installed: pip install 'medseg[report]'"
    assert found["torch"] == "not installed: pip install medseg"


def test_graphics_cards_are_named_with_their_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimpleNamespace(name="A card", total_memory=3 * 2**30)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: card)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    found = dict(machine.findings())
    assert found["cuda:0"] == "A card, 3.0 GiB"
    assert found["mps"] == "Apple GPU"
    assert "cuda" not in found


def test_memory_is_told_where_only_its_size_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def sysconf(name: str) -> int:
        if name == "SC_AVPHYS_PAGES":
            raise ValueError("unrecognized configuration name")
        return {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**20}[name]

    monkeypatch.setattr("os.sysconf", sysconf)
    assert machine._memory() == "4.0 GiB"
