"""The choice of ``dcc tune``: kept with the bundle or in the cache, used by ``auto``, ignored if stale."""

from __future__ import annotations

import dataclasses
import errno
import json
import logging
import pickle
import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from dccnet.runtime import Matcher
from dccnet.runtime.arrays import Image
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.errors import DccError, EngineError
from dccnet.runtime.models.names import open_bundle
from dccnet.runtime.onnx_runtime import PROVIDERS
from dccnet.runtime.tuning import choice as choices
from dccnet.runtime.tuning import opening
from dccnet.runtime.tuning.choice import USUAL, Choice, Machine, Way
from dccnet.runtime.tuning.kept import FILE, find, keep, remove
from dccnet.runtime.tuning.opening import open_ways
from tests.helpers.tuned import choice_for

OPENVINO, ONE = Way("openvino", threads=1), Way("onnxruntime", threads=1)


@pytest.fixture
def copied(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """A bundle that a test may write to, and a cache of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Bundle.open(shutil.copytree(bundle.path, tmp_path / "bundle"))


def test_auto_mixes_engines_as_chosen_and_answers_the_same(copied: Bundle, photos: list[Image]) -> None:
    pytest.importorskip("openvino", reason="the oldest versions are tested without it")
    a, b = photos[:2]
    with Matcher.open(copied, threads=1) as usual:
        assert "OpenVINO" not in usual.backend.description
        wanted = usual.match(a, b)
    assert keep(copied, choice_for(copied, ONE, OPENVINO)) == copied.path / FILE
    with Matcher.open(copied) as tuned:
        first, second = tuned.backend.description.split(", matcher in ")
        assert first.startswith("encoder in ONNX Runtime") and second.startswith("OpenVINO")
        found = tuned.match(a, b)
        assert pickle.loads(pickle.dumps(tuned)).backend.description == tuned.backend.description
    assert np.mean(found.index_a == wanted.index_a) > 0.99
    np.testing.assert_allclose(found.score_a, wanted.score_a, atol=1e-5)


def test_what_is_named_wins_over_the_choice(copied: Bundle) -> None:
    pytest.importorskip("openvino", reason="the oldest versions are tested without it")
    keep(copied, choice_for(copied, OPENVINO, OPENVINO))
    for named in ({"backend": "onnxruntime"}, {"provider": "cpu"}):
        with Matcher.open(copied, threads=1, **named) as matcher:
            assert matcher.backend.description.endswith("(CPU)")
    with Matcher.open(copied, device="cpu") as matcher:
        assert "as dcc tune chose" in matcher.backend.description


def test_onnx_runtime_alone_still_takes_batches(copied: Bundle) -> None:
    from dccnet.runtime.backend import BatchBackend

    assert isinstance(open_ways(copied, USUAL, ONE), BatchBackend)


def test_a_gpu_runs_both_graphs_or_none(copied: Bundle) -> None:
    with pytest.raises(EngineError, match="stay on a GPU"):
        open_ways(copied, Way("tensorrt", "cuda"), USUAL)
    keep(copied, choice_for(copied, Way("tensorrt", "cuda"), Way("tensorrt", "cuda")))
    with Matcher.open(copied, device="cpu", threads=1) as matcher:
        assert matcher.backend.description.endswith("(CPU)")


@pytest.mark.parametrize("provider", ["directml", "coreml"])
def test_a_choice_of_another_device_is_not_for_the_cpu(copied: Bundle, provider: choices.Provider) -> None:
    keep(copied, choice_for(copied, USUAL, Way("onnxruntime", provider)))
    assert opening.open_tuned(copied, 1, "cpu", print) is None
    assert Way("onnxruntime", "xnnpack").on_cpu and OPENVINO.on_cpu


def test_bfloat16_does_not_come_with_a_copy_of_a_bundle(
    copied: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = choice_for(copied, ONE, dataclasses.replace(OPENVINO, bf16=True))
    file = keep(copied, choice)
    assert file.is_relative_to(tmp_path / "cache") and not (copied.path / FILE).exists()
    assert find(copied) == (choice, None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "somebody else's"))
    shutil.copy(file, copied.path / FILE)
    found, reason = find(copied)
    assert found is None and "bfloat16" in str(reason)
    assert opening.open_tuned(copied, 1, "auto", print) is None


def test_what_this_user_measured_comes_first(copied: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's choice is in a folder that this user cannot change."""
    there = keep(copied, choice_for(copied, ONE, ONE))
    unlink = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path.parent == copied.path:  # for files that are not there, too: as Linux where it only reads
            raise OSError(errno.EROFS, "Read-only file system")
        unlink(path, missing_ok)

    monkeypatch.setattr("dccnet.runtime.tuning.kept.os.access", lambda path, mode: False)
    monkeypatch.setattr(Path, "unlink", refuse)
    own = keep(copied, choice_for(copied, ONE, OPENVINO))
    assert there.exists() and find(copied) == (choice_for(copied, ONE, OPENVINO), None)
    with pytest.raises(DccError, match="cannot remove"):
        remove(copied)
    assert not own.exists()
    unlink(there)
    assert remove(copied) == []


def test_fetched_models_bring_no_choice(copied: Bundle, tmp_path: Path) -> None:
    file = keep(copied, choice_for(copied, ONE, OPENVINO))
    fetched = shutil.copytree(copied.path, tmp_path / "cache" / "dcc" / "models" / "one")
    assert (fetched / FILE).read_bytes() == file.read_bytes()
    assert find(Bundle.open(fetched)) == (None, None)


def stale(choice: Choice, kind: str) -> Choice:
    if kind == "another machine":
        return dataclasses.replace(choice, machine=Machine("Another", 64))
    if kind == "0.0.1":
        return dataclasses.replace(choice, packages=choice.packages | {"onnxruntime": "0.0.1"})
    if kind == "(none)":
        return dataclasses.replace(choice, packages=choice.packages | {"some-engine": "1.0"})
    if kind == "other graphs":
        return dataclasses.replace(choice, graphs=choice.graphs | {"matcher": "0" * 64})
    return dataclasses.replace(choice, schema=99)


@pytest.mark.parametrize(
    "kind", ["another machine", "0.0.1", "(none)", "other graphs", "another version of dcc"]
)
def test_a_stale_choice_is_ignored_with_one_sentence(
    copied: Bundle, kind: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("dccnet"), "propagate", True)
    keep(copied, stale(choice_for(copied, OPENVINO, OPENVINO), kind))
    with caplog.at_level("INFO", "dccnet"), Matcher.open(copied, threads=1) as matcher:
        assert matcher.backend.description.endswith("(CPU)")
    (said,) = set(caplog.messages)  # pytest counts twice where another test has shown messages
    assert said.startswith("the choice of dcc tune is not used: ") and kind in said


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"schema": 1}', '{"schema": "1"}', "[" * 100_000, "\xff\x00"]
)
def test_a_damaged_file_is_no_error(copied: Bundle, content: str) -> None:
    (copied.path / FILE).write_text(content, encoding="latin-1")
    choice, reason = find(copied)
    assert choice is None and reason is not None and "damaged" in reason
    Matcher.open(copied, threads=1).close()


def test_a_way_that_dcc_does_not_know_is_damage(copied: Bundle) -> None:
    file = keep(copied, choice_for(copied, ONE, ONE))
    values = json.loads(file.read_text())
    for damage in ({"backend": "os.system"}, {"provider": "../x"}, {"threads": -1}, {"threads": 10**9}):
        damaged = values | {"encoder": values["encoder"] | damage}
        file.write_text(json.dumps(damaged))
        choice, reason = find(copied)
        assert choice is None and reason is not None and next(iter(damage)) in reason


def test_an_engine_that_does_not_open_is_passed_over(
    copied: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise EngineError("it is broken")

    keep(copied, choice_for(copied, OPENVINO, OPENVINO))
    monkeypatch.setattr(opening, "OpenVinoGraph", fail)
    with Matcher.open(copied, threads=1) as matcher:
        assert matcher.backend.description.endswith("(CPU)")


def test_built_in_models_are_not_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    built_in = open_bundle()
    before = sorted(built_in.path.iterdir())
    file = keep(built_in, choice_for(built_in, ONE, ONE))
    assert file.parent == tmp_path / "dcc" / "tuning" and sorted(built_in.path.iterdir()) == before
    assert find(built_in)[0] is not None
    assert remove(built_in) == [file] and find(built_in) == (None, None)


def test_folders_that_cannot_be_written_have_their_choice_in_the_cache(
    copied: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choice = choice_for(copied, ONE, OPENVINO)
    monkeypatch.setattr("dccnet.runtime.tuning.kept.os.access", lambda path, mode: False)
    file = keep(copied, choice)
    assert file.is_relative_to(tmp_path / "cache") and find(copied) == (choice, None)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    keep(copied, dataclasses.replace(choice, matcher=ONE))  # the older one is gone
    assert not file.exists() and find(copied)[0] == dataclasses.replace(choice, matcher=ONE)


def test_ways_have_every_provider_of_onnx_runtime() -> None:
    assert set(get_args(choices.Provider)) == set(PROVIDERS)


def test_a_choice_survives_its_file(copied: Bundle) -> None:
    measured = choices.Measured("encoder", OPENVINO, 12.5, 1.1, "it differs")
    choice = dataclasses.replace(choice_for(copied, ONE, OPENVINO), measured=(measured,))
    keep(copied, choice)
    assert find(copied) == (choice, None)
