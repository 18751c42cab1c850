"""What commands say where something is wrong: which thing, and before the slow work."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from dccnet.cli import dcc as command
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.errors import DccError
from dccnet.runtime.extras import install
from dccnet.runtime.matcher import Matcher
from tests.helpers.commands import Cli, one_sentence


def said(*arguments: str | Path) -> str:
    """The sentence that the command fails with."""
    error = CliRunner().invoke(command, [str(argument) for argument in arguments]).exception
    assert isinstance(error, DccError), error
    return str(error)


def test_too_few_pictures_are_told_from_bundles(
    bundle: Bundle, pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    a, page = pictures[0], ("-o", "page.html")
    for arguments, says in (
        ([], "name two pictures, A and B"),
        ([a], f"name a second picture, B, to match {a} with"),
        (
            [bundle.path, a],
            f"{bundle.path} is taken for the bundle: name a second picture, B, to match {a}",
        ),
        ([bundle.path], f"{bundle.path} is taken for the bundle: name two pictures, A and B, after it"),
        (["cat", a], "cat does not exist, and no model has this name: name two pictures, A and B"),
    ):
        assert said("match", *arguments).startswith(says)
        assert said("view", *arguments, *page).startswith(says)
    assert said("view", a, a, a, *page) == "name two pictures, A and B, not 3"


def test_what_is_wrong_with_pictures_is_said_before_the_model_is_loaded(
    pictures: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_arguments: object, **_options: object) -> Matcher:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(Matcher, "open", opened)
    a, b = pictures[:2]
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(a.read_bytes()[:1000])
    for arguments, says in (
        ((a, b, "-o", "m.docx"), "cannot write 'm.docx': its suffix must be one of"),
        ((a, b, a, "-o", "m.jpg"), "several pictures B need one -o that names a folder"),
        (("absent.jpg", b), "absent.jpg does not exist"),
        ((a, "absent.jpg"), "absent.jpg does not exist"),
        ((a, b, "absent.jpg"), "absent.jpg does not exist"),
        ((a, broken), f"{broken} is truncated"),
        ((broken, a, b), f"{broken} is truncated"),
        ((a, b, "--points", "9999,1"), "the point 9999,1 lies outside the"),
        ((a, b, "-o", a), f"the output {a} is also an input"),
    ):
        assert said("match", *arguments).startswith(says)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            "branches=local",
            """branches must be a list, such as ["local", "context"], got 'local'""",
        ),
        (
            'branches=["lokal"]',
            """branches must be ["local"], ["context"] or ["local", "context"], in this order, got""",
        ),
        ("image_size=320", "image_size must be a list, such as [400, 400], got 320"),
        ("consensus_kernels=5", "consensus_kernels must be a list, such as [5, 5, 5], got 5"),
        ("backbone=[1]", "unknown backbone '[1]': choose one of"),
    ],
)
def test_fields_of_networks_say_how_they_are_written(change: str, says: str, tmp_path: Path) -> None:
    assert said("init", "--set", change, "-o", tmp_path / "x.safetensors").startswith(says)


def test_a_download_names_the_missing_library_before_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pooch", None)
    for arguments, extra in (
        (("data", "fetch", "pf-willow", "-o", tmp_path / "w"), "data"),
        (("match", "--model", f"https://example.org/b.zip#sha256={'0' * 64}", "a.jpg", "b.jpg"), "hub"),
    ):
        assert said(*arguments) == f"downloading needs pooch: {install(extra)}"
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "needs huggingface_hub" in said("match", "--model", "hf:owner/name", "a.jpg", "b.jpg")
    assert "fetching" not in capsys.readouterr().err


def test_choices_are_listed_in_one_line(dcc: Cli) -> None:
    listed = "Choose from: pf-pascal, pf-willow, tss, spair, pairs, video (see dcc eval --help)"
    one_sentence(dcc("eval", "small-1"), 2, listed)
