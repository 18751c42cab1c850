"""Says what to do where git wrote links as text files, as on Windows; the rest is in pyproject.toml."""

from __future__ import annotations

from pathlib import Path

from setuptools import setup

for link in ("calibration", "demo", "export", "runtime", "cli.py"):
    path = Path(__file__).parent / "dccnet" / link
    if path.is_file() and path.read_text(encoding="utf-8", errors="replace").strip() == f"../{link}":
        raise SystemExit(
            f"dccnet/{link} should be a link, but git wrote it as a text file: turn on Windows' developer "
            "mode, run `git config core.symlinks true` and `git checkout -f -- dccnet`, and install again"
        )

setup()
