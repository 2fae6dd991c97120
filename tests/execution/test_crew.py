"""What a machine has is what this process may take of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from medseg.execution.crew import GIB, machine_gib


def group(root: Path, line: str, limits: dict[str, str]) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(line)
    for name, limit in limits.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{limit}\n")
    return root


@pytest.mark.parametrize(
    ("line", "limits"),
    [
        ("0::/queue/job_7/step\n", {"queue/job_7/memory.max": str(GIB // 2)}),
        ("0::/queue/job_7\n", {"queue/job_7/memory.max": "max", "memory.max": str(GIB // 2)}),
        ("4:memory:/job_7\n1:cpu:/x\n", {"memory/job_7/memory.limit_in_bytes": str(GIB // 2)}),
        ("0::/\n", {"memory.max": str(GIB // 2)}),
    ],
)
def test_the_limit_of_a_job_counts_wherever_it_is_written(
    tmp_path: Path, line: str, limits: dict[str, str]
) -> None:
    assert machine_gib(group(tmp_path, line, limits)) == 0.5


def test_without_a_limit_it_is_the_machine(tmp_path: Path) -> None:
    whole = machine_gib(tmp_path)
    assert 0.5 < whole < 1e5
    others = {"another/memory.max": str(GIB // 2)}
    assert machine_gib(group(tmp_path, "0::/mine\n", others)) == whole
