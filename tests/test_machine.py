from __future__ import annotations

import os
from pathlib import Path

import pytest

from pixelwise import machine

V1 = ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")


@pytest.fixture
def limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in the place of the container's limits, on a machine that shows eight cores."""
    monkeypatch.setattr(machine, "_CGROUPS", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    return tmp_path


def write(directory: Path, **files: str) -> None:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, None),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "200000 100000"}, 2),
        ({"cpu.max": "150000 100000"}, 2),
        ({"cpu.max": "5000 100000"}, 1),
        ({"cpu.max": "800000 100000"}, None),  # no less than there is
        ({"cpu.max": "6400000 100000"}, None),
        (dict(zip(V1, ("-1", "100000"), strict=True)), None),
        (dict(zip(V1, ("300000", "100000"), strict=True)), 3),
        ({V1[1]: "100000"}, None),
    ],
)
def test_cores_are_those_that_the_container_gives_time_for(limits: Path, files: dict[str, str], cores: int | None):
    write(limits, **files)
    assert machine.core_quota() == cores
    assert machine.cores() == (cores or 8)


def test_without_an_affinity_the_cores_are_those_of_the_machine(limits: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    assert machine.cores() == os.cpu_count()


@pytest.mark.parametrize("name", ["memory.max", "memory/memory.limit_in_bytes"])
def test_memory_is_that_of_the_container(limits: Path, name: str):
    whole = machine.memory()
    assert whole > 2**28
    write(limits, **{name: str(2**28)})
    assert machine.memory() == 2**28
    write(limits, **{name: str(2**63 - 4096)})  # how version 1 says that there is none
    assert machine.memory() == whole
    write(limits, **{name: "max"})
    assert machine.memory() == whole
