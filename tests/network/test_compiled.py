"""Numba keeps compiled loops; they must not outlive a change of any function that is compiled into them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

pytest.importorskip("numba")


def test_code_is_kept_under_a_name_that_changes_with_every_file(tmp_path: Path) -> None:
    from dccnet.network.conv4d.compiled import digest

    caller, callee = tmp_path / "caller.py", tmp_path / "callee.py"
    caller.write_text("from callee import loop\n")
    callee.write_text("def loop(): return 1\n")
    before = digest(tmp_path)
    assert digest(tmp_path) == before
    callee.write_text("def loop(): return 2\n")
    assert digest(tmp_path) != before


@pytest.mark.parametrize(
    ("module", "loop"),
    [
        ("complex_rows", "backward_rows"),
        ("complex_kernels", "convolve"),
        ("transform_kernels", "forward"),
        ("kernels", "widen"),
    ],
)
def test_loops_have_that_name(module: str, loop: str) -> None:
    from dccnet.network import conv4d
    from dccnet.network.conv4d.compiled import digest

    version = digest(Path(conv4d.__file__).parent)
    function = getattr(import_module(f"dccnet.network.conv4d.{module}"), loop)
    assert function.__qualname__ == f"{loop}_{version}"
