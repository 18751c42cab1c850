"""Two processes at one folder: the second is refused with a sentence, or both are right.

Locks of trainings, sweeps, evaluations and downloads have their tests beside the code that takes them.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from dccnet.cli import dcc as group
from dccnet.evaluation.datasets.fetch import fetch
from dccnet.evaluation.datasets.sources import SOURCES
from dccnet.runtime.bundle import MANIFEST, Bundle, write_manifest
from dccnet.runtime.errors import BundleError, DccError
from dccnet.runtime.files import atomic_path
from dccnet.runtime.locks import LOCK_FILE, output_lock
from dccnet.runtime.models.addresses import parse_address
from dccnet.runtime.models.fetching import fetch_model
from dccnet.runtime.models.kept import user_folder
from dccnet.runtime.tensorrt.builder import BuildSettings
from dccnet.runtime.tensorrt.bundled import add_engines, build_engines
from dccnet.runtime.tensorrt.library import load_library
from dccnet.runtime.video.outputs.files import Outputs
from tests.helpers.emulation import emulated


def dcc(*arguments: object) -> None:
    """Raises the error of the command."""
    texts = [str(argument) for argument in arguments]
    done = CliRunner().invoke(group, texts, catch_exceptions=False, standalone_mode=False)
    if done.exception is not None:
        raise done.exception


def _repeated(folder: Path, bundle: Bundle) -> None:
    dcc("data", "repeated", "--pairs", 1, "-o", folder)


def _masks(folder: Path, bundle: Bundle) -> None:
    Outputs([], folder)


def _fetch(folder: Path, bundle: Bundle) -> None:
    fetch(SOURCES["pf-willow"], folder)


def _build(folder: Path, bundle: Bundle) -> None:
    with emulated(folder.with_name("cache"), "tensorrt_rtx"):
        dcc("build", bundle.path, "--output", folder)


@pytest.mark.parametrize("write", [_repeated, _masks, _fetch, _build])
def test_a_second_process_at_a_folder_is_refused(
    write: Callable[[Path, Bundle], None], tmp_path: Path, bundle: Bundle
) -> None:
    folder = tmp_path / "out"
    with output_lock(folder):
        refused = pytest.raises(DccError, match=r"another process is .* \(process \d+ on .*\): wait for it")
        with refused:
            write(folder, bundle)
        assert [path.name for path in folder.iterdir()] == [LOCK_FILE]
    assert not folder.exists()


def test_two_sequences_may_share_a_folder_but_not_a_name(tmp_path: Path) -> None:
    refused = pytest.raises(DccError, match=r"another process is writing .*a-%06d.json \(")
    with Outputs([tmp_path / "a-%06d.json"]), Outputs([tmp_path / "b-%06d.json"]), refused:
        Outputs([tmp_path / "a-%06d.json"])
    assert not list(tmp_path.iterdir())


def test_a_model_is_fetched_by_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    digest = "0" * 64
    address = parse_address(f"https://example.org/model.zip#sha256={digest}")
    assert address is not None
    refused = pytest.raises(DccError, match=r"another process is writing https://example.org/model.zip")
    with output_lock(user_folder() / "downloads", name=f".{digest}{LOCK_FILE}"), refused:
        fetch_model(address)


def test_engines_of_two_processes_are_all_in_the_manifest(bundle: Bundle, tmp_path: Path) -> None:
    """Both opened the bundle before either wrote."""
    shutil.copytree(bundle.path, tmp_path / "b")
    first, second = Bundle.open(tmp_path / "b"), Bundle.open(tmp_path / "b")
    for opened, name in ((first, "tensorrt"), (second, "tensorrt_rtx")):
        with emulated(tmp_path / "cache", name):
            add_engines(opened, build_engines(opened, load_library(name), BuildSettings()))
    records = Bundle.open(tmp_path / "b").manifest.engines
    assert {(record.graph, record.library) for record in records} == {
        (graph, library) for graph in ("encoder", "matcher") for library in ("tensorrt", "tensorrt_rtx")
    }
    other = {
        name: dataclasses.replace(graph, sha256="0" * 64) for name, graph in first.manifest.graphs.items()
    }
    write_manifest(first.path, dataclasses.replace(first.manifest, graphs=other))
    with pytest.raises(BundleError, match="was replaced while its engines were built"):
        add_engines(first, [])


def test_a_folder_that_two_replace_is_always_whole(tmp_path: Path) -> None:
    """Bundles of export, calibrate, confidence, models build and fetch; the later one wins."""
    path = tmp_path / "bundle"

    def replace(author: str) -> None:
        for number in range(25):
            with atomic_path(path) as temporary:
                temporary.mkdir()
                for name in ("a", MANIFEST):
                    (temporary / name).write_text(json.dumps([author, number]))

    replace("first")
    writers = [threading.Thread(target=replace, args=(author,)) for author in ("first", "second")]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        folder = os.open(path, os.O_RDONLY)
        names = sorted(os.listdir(folder))  # noqa: PTH208 (pathlib takes no open folder)
        still_there = os.path.samestat(os.fstat(folder), path.stat())  # else it is being deleted
        os.close(folder)
        assert names == ["a", MANIFEST] or not still_there
    assert len({file.read_text() for file in path.iterdir()}) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["bundle"]
