"""What ``make`` deletes."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.helpers.paths import ROOT


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize(("variables", "deletes"), [([], True), (["DEMO_OUTPUT=elsewhere"], False)])
def test_the_demo_deletes_only_its_own_folder(variables: list[str], deletes: bool) -> None:
    done = subprocess.run(
        ["make", "--dry-run", "demo", *variables], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ("rm -rf demo-output" in done.stdout) == deletes
    assert "rm -rf elsewhere" not in done.stdout
