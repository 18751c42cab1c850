"""The command that installs what is missing is one that works."""

from __future__ import annotations

import json
import shlex
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from dccnet.runtime import extras
from dccnet.runtime.errors import DccError
from dccnet.runtime.extras import install, required


@pytest.mark.parametrize(
    ("source", "in_clone"),
    [
        ({"url": "{clone}", "dir_info": {"editable": True}}, True),
        ({"url": "{clone}", "dir_info": {}}, True),
        ({"url": "{clone}-gone", "dir_info": {}}, False),
        ({"url": "{clone}/dccnet-1-py3-none-any.whl", "archive_info": {}}, False),
        (None, False),  # from an index
    ],
)
def test_a_clone_is_named_where_dcc_comes_from_one(
    source: dict[str, object] | None, in_clone: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clone = tmp_path / "my dcc"
    clone.mkdir()
    (clone / "pyproject.toml").touch()
    text = None if source is None else json.dumps(source).replace("{clone}", clone.as_uri())
    found = SimpleNamespace(read_text=lambda name: text if name == "direct_url.json" else None)
    monkeypatch.setattr(metadata, "distribution", lambda name: found)
    expected = f"{clone if in_clone else 'dccnet'}[cpu,export]"
    assert shlex.split(install("cpu", "export")) == ["pip", "install", expected]


def test_a_clone_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    (_, _, requirement) = shlex.split(install("cpu"))
    folder = Path(requirement.removesuffix("[cpu]"))
    assert Path(extras.__file__).is_relative_to(folder) and (folder / "pyproject.toml").is_file()


def test_a_missing_library_is_named() -> None:
    with (
        pytest.raises(DccError, match=r"a trial needs nothing_like_it: pip install .*\[h5\]"),
        required("a trial", "h5"),
    ):
        import nothing_like_it  # type: ignore[import-not-found]  # noqa: F401


def test_a_library_that_cannot_be_loaded_is_not_called_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = "libtorch.so: failed to map segment"
    (tmp_path / "broken_library.py").write_text(f"raise ImportError({reason!r}, name='_C')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    said = (
        r"a trial cannot load a library: libtorch\.so: failed to map segment; free memory, or install it "
    )
    with (
        pytest.raises(DccError, match=said + r"again: pip install --force-reinstall .*\[h5\]"),
        required("a trial", "h5"),
    ):
        import broken_library  # type: ignore[import-not-found]  # noqa: F401
