"""Libraries of optional extras, and the command that installs a missing one."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator
from pathlib import Path

from dccnet.runtime.errors import DccError

NAME = "dccnet"
"""Of the project for pip."""


def install(*extras: str) -> str:
    """The command that installs extras of ``pyproject.toml``: ``pip install '/home/me/dcc[cpu]'``."""
    return f"pip install {requirement(*extras)}"


def requirement(*extras: str) -> str:
    """dcc with extras as pip takes it, quoted for a shell: the clone that it comes from, else its name."""
    return shlex.quote(f"{_clone() or NAME}[{','.join(extras)}]")


def _clone() -> Path | None:
    """The folder of sources that dcc was installed from, or runs in without being installed."""
    import json  # these imports take time, and are for messages alone
    from importlib import metadata
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    try:
        text = metadata.distribution(NAME).read_text("direct_url.json")
    except metadata.PackageNotFoundError:
        folder = Path(__file__).parents[2]
    else:
        source = json.loads(text or "{}")
        if "dir_info" not in source:  # from an index, or an archive
            return None
        folder = Path(url2pathname(urlsplit(source["url"]).path))
    return folder if (folder / "pyproject.toml").is_file() else None


@contextlib.contextmanager
def required(purpose: str, *extras: str, error: type[DccError] = DccError) -> Iterator[None]:
    """Raise ``error`` for an ``ImportError`` in this block: "``purpose`` needs X: pip install …".

    A library that is there and cannot be loaded, for lack of memory or because files of it are damaged, is
    named with the reason.
    """
    try:
        yield
    except ModuleNotFoundError as missing:
        raise error(f"{purpose} needs {missing.name}: {install(*extras)}") from missing
    except ImportError as broken:
        reason = " ".join(str(broken).split()) or broken.name
        raise error(
            f"{purpose} cannot load a library: {reason}; free memory, or install it again: "
            f"pip install --force-reinstall {requirement(*extras)}"
        ) from broken
