"""The page for newcomers: its commands exist as they are written, and run one after the other."""

from __future__ import annotations

import importlib
import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from dccnet.cli import dcc
from tests.helpers import tiny_benchmarks as tiny
from tests.helpers.page_commands import commands, parse
from tests.helpers.paths import ROOT

PAGE = ROOT / "docs" / "study.md"
FASTER = {
    "data pairs": ["--per-class", "6"],
    "data warps": ["--views", "1"],
    "ablate": [
        *("--set", "image_size=[48,48]", "--set", "context_kernel=3", "--set", "context_channels=4"),
        *("--set", "consensus_channels=[2,1]", "--weights", "random", "--epochs", "1", "--device", "cpu"),
    ],
    "compare": [],
    "figure": ["--width", "3"],
}
"""What the page's commands get in addition, so that they take seconds."""


@pytest.fixture
def newcomer(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("newcomer")


def test_the_page_names_the_commands_of_both_ways() -> None:
    names = {parse(words) for words in commands(PAGE)}
    assert names >= {"match", "data pairs", "data warps", "ablate", "compare", "figure", "export"}


def test_the_clock_takes_the_commands_from_the_page(newcomer: ModuleType) -> None:
    for keypoints, folder in ((True, "test.csv"), (False, "warped/pairs.csv")):
        lines = newcomer.way(keypoints)
        assert [line for _, line in lines if newcomer.installs(line)] == [
            "python3 -m venv .venv",
            ". .venv/bin/activate",
            "pip install '.[cpu]'",
            "pip install '.[cpu,train,plot]'",
        ]
        assert any(f"--test {folder}" in line for _, line in lines)
    with pytest.raises(ValueError, match="no commands below"):
        newcomer.commands("No such heading")


def test_the_way_without_keypoints_ends_with_a_page_and_a_figure(
    newcomer: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = tmp_path / "mine"
    for number in range(8):
        tiny.write(photos / ("cat", "dog")[number % 2] / f"{number}.png", tiny.picture(number, 64, 64))
    monkeypatch.chdir(tmp_path)
    newcomer.prepare(tmp_path, photos, None)
    for heading, line in newcomer.way(keypoints=False):
        if heading in (newcomer.WITHOUT, newcomer.COMPARE):
            words = shlex.split(line)[1:]
            name = parse(words)
            done = CliRunner().invoke(dcc, [*words, *FASTER[name]])
            assert done.exit_code == 0, (line, done.output, done.exception)
            if name == "compare":
                assert "next: dcc figure study --names NC-Net,DCCNet --pairs " in done.stderr
    page = (tmp_path / "comparison" / "comparison.html").read_text(encoding="utf-8")
    assert "DCCNet against NC-Net" in page
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")
    for path in re.findall(
        r"study/\S+\.safetensors", PAGE.read_text(encoding="utf-8").replace("k15", "k3")
    ):
        assert (tmp_path / path.strip("`")).is_file(), path


def test_sums_are_those_that_are_asked_for(newcomer: ModuleType) -> None:
    rows = [
        newcomer.Timed(newcomer.MATCH, "pip", 240.0, 60.0),
        newcomer.Timed(newcomer.MATCH, "dcc match", 30.0, 30.0),
        newcomer.Timed(newcomer.COMPARE, "dcc compare", 600.0, 900.0),
    ]
    text, met = newcomer.report(rows)
    assert met and text.count("until here") == 2
    assert "| **until here** (asked for: 5) | **4.5** | **1.5** |\n| `dcc compare`" in text
    assert text.endswith("| **until here** (asked for: 20) | **14.5** | **16.5** |")
    assert not newcomer.report([newcomer.Timed(newcomer.MATCH, "pip", 301.0, 1.0)])[1]
