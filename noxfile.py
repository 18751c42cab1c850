"""The tests on every Python that pyproject.toml allows: ``make test-pythons``.

A Python that is not on this machine is skipped, and nox says so. With pyenv, several are found at the same
time by ``PYENV_VERSION=3.13.0:3.12.1:3.11.7:3.10.13``.
"""

from __future__ import annotations

from pathlib import Path

import nox

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
BUNDLES = Path(".venv-nox/bundles")
"""Made by ``make test-pythons`` with PyTorch, which the sessions do not have."""

nox.options.sessions = ["runtime"]
nox.options.error_on_missing_interpreters = False
nox.options.envdir = ".venv-nox/sessions"


@nox.session(python=PYTHONS)
def runtime(session: nox.Session) -> None:
    """Matching, the command line and the runtime's tests, without PyTorch; more tests after ``--``."""
    session.install("--editable", ".[cpu]", "pytest", "hypothesis")
    session.run("dcc", "--help", silent=True)
    pictures = (f"demo/animals/{name}.jpg" for name in ("cat", "raccoon"))
    session.run("dcc", "match", *pictures, "-o", f"{session.create_tmp()}/matches.jpg", silent=True)
    tests = session.posargs or ["tests/runtime"]
    session.run(
        *("python", "-W", "error::SyntaxWarning", "-m", "pytest", "-p", "no:cacheprovider", *tests),
        env={"DCC_TEST_BUNDLES": str(BUNDLES.absolute())},
    )


@nox.session(python=PYTHONS)
def everything(session: nox.Session) -> None:
    """All that ``make test`` runs, with PyTorch: some gigabytes for each Python."""
    session.install("--editable", ".[dev]")
    session.run(
        *(
            "python",
            "-m",
            "pytest",
            "-p",
            "no:cacheprovider",
            "-m",
            "not slow and not gpu and not cuda and not ray and not loggers",
        ),
        *("--numprocesses", "auto", "--dist", "loadfile", *session.posargs),
    )
