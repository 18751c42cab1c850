"""Limits of containers, as the files of Linux's control groups state them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dccnet.runtime import cores
from dccnet.runtime.cores import cpu_limit, threads_within_limit, usable_cores


@pytest.fixture
def eight_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine of eight cores without limits; the folder of its control groups."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(cores, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(cores, "OWN_GROUPS", tmp_path / "own")
    (tmp_path / "groups").mkdir()
    return tmp_path / "groups"


def limit(group: Path, quota: str, period: str = "100000", version: int = 2) -> None:
    group.mkdir(parents=True, exist_ok=True)
    if version == 2:
        (group / "cpu.max").write_text(f"{quota} {period}\n")
    else:
        (group / "cpu.cfs_quota_us").write_text(f"{quota}\n")
        (group / "cpu.cfs_period_us").write_text(f"{period}\n")


@pytest.mark.parametrize(
    ("own", "group", "version"),
    [
        ("0::/", "", 2),  # within a container
        ("0::/user.slice/job", "user.slice/job", 2),
        ("0::/user.slice/job", "user.slice", 2),  # of a group above
        ("0::/../outside", "", 2),
        ("4:memory:/x\n1:cpu:/\n0::/", "cpu", 1),
        ("3:cpu,cpuacct:/docker/5f", "cpu,cpuacct/docker/5f", 1),
        ("3:cpu,cpuacct:/docker/5f", "cpu,cpuacct", 1),  # within a container that sees the path outside
        ("1:cpu:/\n0::/job", "unified/job", 2),  # both versions
    ],
)
def test_a_limit_of_cpu_time_leaves_fewer_cores(
    eight_cores: Path, own: str, group: str, version: int
) -> None:
    cores.OWN_GROUPS.write_text(own + "\n")
    assert (cpu_limit(), usable_cores(), threads_within_limit()) == (None, 8, 0)
    limit(eight_cores / group, "250000", version=version)
    assert (cpu_limit(), usable_cores(), threads_within_limit()) == (2.5, 3, 3)


@pytest.mark.parametrize("version", [1, 2])
def test_no_limit_leaves_the_engines_their_choice(eight_cores: Path, version: int) -> None:
    cores.OWN_GROUPS.write_text("1:cpu:/\n0::/\n")
    limit(eight_cores / ("" if version == 2 else "cpu"), "max" if version == 2 else "-1", version=version)
    assert (cpu_limit(), usable_cores(), threads_within_limit()) == (None, 8, 0)
    limit(eight_cores, "1600000")
    assert (cpu_limit(), usable_cores(), threads_within_limit()) == (16, 8, 0)


def test_the_lowest_of_several_limits_counts(eight_cores: Path) -> None:
    cores.OWN_GROUPS.write_text("0::/a/b\n")
    limit(eight_cores / "a", "150000")
    limit(eight_cores / "a/b", "400000")
    limit(eight_cores, "20000", period="50000")
    assert (cpu_limit(), usable_cores()) == (0.4, 1)


@pytest.mark.parametrize("content", ["", "x", "1 2 3", "5 0", "\xff"])
def test_files_that_say_nothing_limit_nothing(eight_cores: Path, content: str) -> None:
    cores.OWN_GROUPS.write_bytes(b"0::/\nnonsense\n\n")
    (eight_cores / "cpu.max").write_text(content)
    assert usable_cores() == 8
    cores.OWN_GROUPS.write_bytes(b"\xff\xfe")
    assert usable_cores() == 8
    cores.OWN_GROUPS.unlink()
    assert usable_cores() == 8
