"""The code in docs/ runs, and does what the page says."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dccnet.runtime.bundle import Bundle
from dccnet.runtime.images import Image, write_image
from dccnet.runtime.matcher import Matcher

DOCS = Path(__file__).parent.parent / "docs"


def code(page: str) -> list[str]:
    blocks: list[str] = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.S)
    return blocks


@pytest.fixture
def folder(bundle: Bundle, photos: list[Image], video: Path, tmp_path: Path) -> Path:
    """What the pages take for granted."""
    (tmp_path / "bundle").symlink_to(bundle.path)
    (tmp_path / "in.mp4").symlink_to(video)
    for name, photo in zip(("a.jpg", "b.jpg", "mug.jpg"), (*photos[:2], photos[0]), strict=True):
        write_image(tmp_path / name, photo)
    for number, photo in enumerate(photos):
        write_image(tmp_path / "photos" / f"{number}.jpg", photo)
    return tmp_path


def test_the_graphs_page_is_all_that_another_program_needs(folder: Path) -> None:
    from dccnet.runtime.images import read_image

    (block,) = code("graphs.md")
    block += """
import sys
assert not {"dccnet", "torch"} & set(sys.modules)
points = np.array([[0.0, 0.0], [37.5, 81.25], [120.0, 80.0], [image_a.shape[1] - 1, image_a.shape[0] - 1]])
np.savez("out.npz", points=points, carried=[transfer(point) for point in points], **outputs)
"""
    done = subprocess.run([sys.executable, "-I", "-c", block], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = Matcher.open(folder / "bundle").match(
        read_image(folder / "a.jpg"), read_image(folder / "b.jpg")
    )
    assert len(np.unique(expected.index_a)) > 1
    with np.load(folder / "out.npz") as found:
        for name in ("index_a", "index_b"):
            np.testing.assert_array_equal(found[name][0], getattr(expected, name).ravel())
        for name in ("score_a", "score_b", "heatmap_a", "heatmap_b"):
            np.testing.assert_allclose(found[name].ravel(), getattr(expected, name).ravel(), rtol=1e-6)
        carried = expected.transfer(found["points"], from_="a")
        np.testing.assert_allclose(found["carried"], carried, atol=1e-9)


def test_the_graphs_page_names_every_tensor(bundle: Bundle) -> None:
    text = (DOCS / "graphs.md").read_text(encoding="utf-8")
    for graph in bundle.manifest.graphs.values():
        for tensor in (*graph.inputs, *graph.outputs):
            assert f"`{tensor.name}`" in text, tensor.name


def test_the_embedding_page_runs_in_order(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    robot, node, camera, annotation = code("embedding.md")
    assert len(robot.splitlines()) <= 20
    names: dict[str, object] = {}
    exec(compile(robot, "embedding.md", "exec"), names)
    assert len(capsys.readouterr().out.splitlines()) == 12  # a line for each frame

    exec(compile(node + camera, "embedding.md", "exec"), names)
    published = names["published"]
    assert isinstance(published, dict) and 19 in published  # the newest is never lost
    assert len(published) + names["node"].dropped == 20  # type: ignore[attr-defined]

    exec(compile(annotation, "embedding.md", "exec"), names)
    suggestions = json.loads((folder / "suggestions.json").read_text())
    assert set(suggestions) == {"0.jpg", "1.jpg", "2.jpg"} and set(suggestions["1.jpg"]) == {"eye", "ear"}
    assert (folder / "check" / "2.jpg").is_file()


@pytest.mark.parametrize("page", sorted(path.name for path in DOCS.glob("*.md")))
def test_pages_point_to_files_that_exist(page: str) -> None:
    for link in re.findall(r"\]\(((?!https?:)[^)#]+)\)", (DOCS / page).read_text(encoding="utf-8")):
        assert (DOCS / link).exists(), link
