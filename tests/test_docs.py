"""The code in docs/ runs, and does what the page says."""

from __future__ import annotations

import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest

from dccnet.runtime.arrays import Image
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.images import write_image
from dccnet.runtime.matcher import Matcher
from tests.helpers.page_commands import commands, parse
from tests.helpers.paths import ROOT

DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
FORMER_ROOMS = {"bundles", "diagnostics", "evaluation", "training", "viewer"}
ROOMS = {path.parent.name for path in ROOT.glob("*/__init__.py")} | FORMER_ROOMS
TOP = ROOMS | {"benchmarks", "docs", "tests"}
FILES = {"csv", "json", "md", "py", "safetensors", "toml"}


def code(page: str) -> list[str]:
    blocks: list[str] = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(encoding="utf-8"), re.S)
    return blocks


@pytest.fixture
def folder(bundle: Bundle, photos: list[Image], video: Path, tmp_path: Path) -> Path:
    """The files that the code on the pages reads."""
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
        for name in ("score_a", "score_b", "window_a", "window_b", "heatmap_a", "heatmap_b"):
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


def test_the_page_of_many_pairs_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    Path("list.csv").write_text("source,target\na.jpg,b.jpg\nb.jpg,absent.jpg\n")
    (block,) = code("scale.md")
    exec(compile(block.replace("open()", 'open("bundle")'), "scale.md", "exec"), {})
    assert capsys.readouterr().out == "1 of 2 pairs; 1 failed\n"


@pytest.mark.parametrize(
    ("page", "printed"),
    [("index.md", r"\[\[\d+.*\]\] \d+ 0\.\d+"), ("errors.md", "missing.jpg does not exist")],
)
def test_the_code_of_short_pages_runs(
    page: str,
    printed: str,
    photos: list[Image],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, photo in zip("ab", photos[:2], strict=True):
        write_image(tmp_path / f"{name}.jpg", photo)
    monkeypatch.chdir(tmp_path)
    (block,) = code(page)
    exec(compile(block, page, "exec"), {})
    assert re.fullmatch(printed, capsys.readouterr().out.strip())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_link_to_files_and_headings_that_exist(page: Path) -> None:
    links = re.findall(r"\]\(((?!https?:)[^)]+)\)", page.read_text(encoding="utf-8"))
    for file, _, heading in (link.partition("#") for link in links):
        target = page.parent / file if file else page
        assert target.exists(), file
        assert not heading or heading in anchors(target), f"{file}#{heading}"


def anchors(page: Path) -> set[str]:
    """Fragments that a page's headings have on GitHub."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_on_pages_have_the_options_that_they_are_given(page: Path) -> None:
    for words in commands(page):
        parse(words)


def code_words(page: Path) -> list[list[str]]:
    """Words of all code, in backticks or in blocks: a list for each paragraph or item."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"```.*?```|^    [^*\n]+$", text, re.S | re.M)
    prose = re.sub(r"```.*?```", "", text, flags=re.S)
    items = re.split(r"\n\n|\n(?=[*|]|\d\.)", prose)
    spans = [" ".join(re.findall(r"`([^`]+)`", item)) for item in items]
    return [re.split(r"[\s\"'`,;()=]+", words) for words in (*blocks, *spans)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_name_files_of_the_repository_that_exist(page: Path) -> None:
    """A bare name, such as ``stages.py``, is in the folder of the path before it in the same paragraph."""
    for words in code_words(page):
        folder = None
        for word in words:
            path = word.strip(":.").removesuffix("/*")
            if not re.fullmatch(r"[\w.-]+(/[\w.-]+)*/?", path):
                continue
            if "/" in path and path.split("/")[0] in TOP:
                assert (ROOT / path).exists(), path
                folder = ROOT / path if (ROOT / path).is_dir() else (ROOT / path).parent
            elif re.fullmatch(r"\w+\.(py|js|css|html)" if folder else r"\w+\.py", path):
                assert (ROOT / path).is_file() or (folder and (folder / path).is_file()), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_name_modules_and_classes_that_exist(page: Path) -> None:
    """By the import name: ``dccnet.runtime.Matcher``, not ``runtime.Matcher``."""
    for word in (word for words in code_words(page) for word in words):
        first, last = word.partition(".")[0], word.rpartition(".")[2]
        if not re.fullmatch(r"[a-z]\w*(\.\w+)+", word) or last in FILES:
            continue
        if first == "dccnet":
            assert pkgutil.resolve_name(word) is not None
        else:
            assert first not in ROOMS, f"{word} is not an import name"


def test_the_checks_of_names_see_what_is_wrong(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for text in (
        "`training/recipes.py`",
        "`runtime/video/`: `nothing.py`",
        "    python benchmarks/no.py X",
    ):
        page.write_text(text)
        with pytest.raises(AssertionError):
            test_pages_name_files_of_the_repository_that_exist(page)
    for text in (
        "```\nmake x && .venv/bin/dcc match a.jpg --no-option\n```",
        "    dcc data \\\n        nothing",
    ):
        page.write_text(text)
        with pytest.raises(click.UsageError):
            test_commands_on_pages_have_the_options_that_they_are_given(page)
    page.write_text("`dccnet.runtime.Nothing`, `runtime.DccError`")
    with pytest.raises((AttributeError, ImportError)):
        test_pages_name_modules_and_classes_that_exist(page)
