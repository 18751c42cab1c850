"""What the README shows must run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dccnet.runtime.arrays import Image
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.images import write_image

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_the_python_example_runs_and_its_shapes_are_true(
    bundle: Bundle, photos: list[Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bundle").symlink_to(bundle.path)
    write_image(tmp_path / "a.jpg", photos[0])
    write_image(tmp_path / "b.jpg", photos[1])
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", README, re.S)
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)
    assert names["points_b"].shape == (1, 2)  # type: ignore[attr-defined]
    assert names["flow"].shape == (*photos[0].shape[:2], 2)  # type: ignore[attr-defined]
    assert (tmp_path / "matches.jpg").is_file()


def test_every_command_that_the_readme_names_exists() -> None:
    from dccnet.cli import COMMANDS

    used = set(re.findall(r"^dcc (\w+)", README, re.M))
    assert used and used <= set(COMMANDS)


def test_the_files_that_the_readme_points_to_exist() -> None:
    root = Path(__file__).parent.parent
    for link in re.findall(r"\]\(((?!https?:)[^)#]+)\)", README):
        assert (root / link).exists(), link
