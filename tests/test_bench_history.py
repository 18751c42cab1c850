"""The history that ``make bench`` writes into docs/speed.md."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path
from types import ModuleType

import pytest

from tests.helpers.paths import ROOT

PAGE = ROOT / "docs" / "speed.md"


@pytest.fixture
def regressions(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("regressions")


def test_a_commit_has_one_row_the_last_one(regressions: ModuleType) -> None:
    page = PAGE.read_text(encoding="utf-8")
    first = regressions.with_row(page, ["aaaaaaa", "2026-01-01", "1.00"])
    both = regressions.with_row(first, ["bbbbbbb", "2026-01-02", "2.00"])
    again = regressions.with_row(both, ["aaaaaaa", "2026-01-03", "3.00"])
    assert first.count("aaaaaaa") == again.count("aaaaaaa") == 1
    assert again.endswith("| bbbbbbb | 2026-01-02 | 2.00 |\n| aaaaaaa | 2026-01-03 | 3.00 |\n")
    assert again.startswith(page.rstrip("\n"))  # what was there stays


def test_a_page_without_the_table_is_refused(regressions: ModuleType) -> None:
    with pytest.raises(ValueError, match="no table with the header"):
        regressions.with_row("# Another page\n", ["aaaaaaa"])


def test_a_folder_without_history_has_no_model_of_before(
    regressions: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(regressions, "ROOT", tmp_path)
    assert regressions.model_before(tmp_path) is None


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
def test_instructions_are_those_of_one_execution(
    regressions: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        regressions, "_PREPARE", "import sys\nfor _ in range(int(sys.argv[1])):\n    "
    )  # without NumPy, which takes long to start there
    additions = 100_000
    assert 10 < regressions.instructions(f"sum(range({additions}))") / additions < 200
