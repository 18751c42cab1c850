"""The real command in its own process: its output, streams and exit codes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
from safetensors.torch import save_file

from dccnet.cli import COMMANDS
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.commands.pictures import Report, match_many
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import EngineError
from dccnet.runtime.extras import install
from dccnet.runtime.manifest import SCHEMA
from dccnet.runtime.matcher import Matcher
from dccnet.training import datasets
from dccnet.weights.checkpoint import load_checkpoint, save_checkpoint
from tests.helpers.commands import Cli, one_sentence
from tests.helpers.networks import PLAIN, SMALL, build
from tests.helpers.official import State, backbone_state, consensus_state, write

# Help ------------------------------------------------------------------------------------------


def test_help_is_light_and_lists_every_command(dcc: Cli) -> None:
    code = (
        "import sys\nfrom dccnet import cli\n"
        "try: cli.main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'onnxruntime', 'cv2', 'numpy', 'onnx'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for command, (_, _, line) in COMMANDS.items():
        assert re.search(rf"^  {command} +{re.escape(line)}$", result.stdout, re.MULTILINE)


def test_command_without_arguments_shows_the_help(dcc: Cli) -> None:
    result = dcc()
    assert result.returncode == 2 and not result.stdout
    assert result.stderr == dcc("--help").stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_loads_neither_torch_nor_an_engine(command: str) -> None:
    code = (
        f"import sys\nfrom dccnet import cli\ntry: cli.main([{command!r}, '--help'])\n"
        "except SystemExit as e: assert not e.code\n"
        "assert not {'torch', 'onnxruntime', 'onnx'} & set(sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(f"Usage: dcc {command}")


def test_unknown_commands_and_options_are_usage_errors(dcc: Cli) -> None:
    for arguments in (["frobnicate"], ["match", "--frobnicate"], ["export"], []):
        assert dcc(*arguments).returncode == 2


# The workflow ------------------------------------------------------------------------------------


def test_init_export_match(dcc: Cli, dcc_here: Cli, tmp_path: Path, pictures: list[Path]) -> None:
    model = tmp_path / "m.safetensors"
    made = dcc("init", "--preset", "tiny", "--set", "image_size=[64,64]", "-o", model)
    assert made.returncode == 0 and made.stdout.strip() == str(model)
    assert load_checkpoint(model).config.image_size == (64, 64)
    exported = dcc("export", model, "-o", tmp_path / "b")
    assert exported.returncode == 0, exported.stderr
    assert exported.stdout.strip() == str(tmp_path / "b")
    assert "identical best cells" in exported.stderr
    matched = dcc_here("match", tmp_path / "b", pictures[0], pictures[1], "--json")
    assert matched.returncode == 0
    assert json.loads(matched.stdout)["grid_a"] == [4, 4]


def test_train_then_resume(
    dcc_here: Cli, tmp_path: Path, pictures: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "VALIDATION_PAIRS", 5)
    run = tmp_path / "run"
    tiny = ["--preset", "tiny", "--set", "image_size=[64,64]", "--weights", "random"]
    short = ["--epochs", "1", "--pairs", "4", "--batch-size", "2"]
    trained = dcc_here("train", *tiny, *short, "--synthetic", pictures[0].parent, "-o", run, "--json")
    assert trained.returncode == 0, trained.stderr
    result = json.loads(trained.stdout)
    assert result["epoch"] == 1 and Path(result["best"]).is_file()
    assert "validation PCK@0.1 (bbox)" in trained.stderr
    one_sentence(dcc_here("train", "--resume", run, "--seed", "3"), 2, "--resume uses the settings")
    resumed = dcc_here("train", "--resume", run, "--epochs", "2", "--json")
    assert json.loads(resumed.stdout)["epoch"] == 2, resumed.stderr


def test_import(dcc_here: Cli, tmp_path: Path) -> None:
    state: State = backbone_state("resnet18")
    state.update(consensus_state("NeighConsensus", (3, 3), (4, 1)))
    source = write(tmp_path / "ncnet.pth.tar", state)
    result = dcc_here("import", source, "-o", tmp_path / "n.safetensors")
    assert result.returncode == 0, result.stderr
    assert load_checkpoint(tmp_path / "n.safetensors").config.branches == ("local",)


def test_another_image_size_needs_a_network_without_a_fixed_grid(
    dcc_here: Cli, tmp_path: Path, checkpoint: Path
) -> None:
    refused = dcc_here("export", checkpoint, "--image-size", "128x128", "-o", tmp_path / "b")
    one_sentence(refused, 2, "welded to the feature grid of 96x80")
    assert not (tmp_path / "b").exists()
    save_checkpoint(build(PLAIN), tmp_path / "n.safetensors")
    exported = dcc_here(
        "export", tmp_path / "n.safetensors", "--image-size", "64x112", "-o", tmp_path / "b"
    )
    assert exported.returncode == 0, exported.stderr
    assert Bundle.open(tmp_path / "b").manifest.grid == (4, 7)


# Match -----------------------------------------------------------------------------------------


def test_match_writes_pictures_and_data_and_transfers_points(
    dcc: Cli, bundle: Bundle, pictures: list[Path], tmp_path: Path
) -> None:
    outputs = [tmp_path / name for name in ("m.png", "m.json", "m.npz", "m.csv", "m.flo")]
    flags = [flag for output in outputs for flag in ("-o", str(output))]
    result = dcc("match", bundle.path, *pictures[:2], *flags, "--points", "10,20;30.5,40")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 2 and lines[1].startswith("30.5,40\t")
    assert all(output.is_file() for output in outputs)
    from dccnet.runtime.matcher import Matcher

    a, b = (cv2.imread(str(path)) for path in pictures[:2])
    moved = Matcher.open(bundle).match(a, b).transfer([[10.0, 20.0]], from_="a")[0]
    assert lines[0].split("\t")[1] == f"{moved[0]:.2f},{moved[1]:.2f}"


def test_match_with_a_folder_writes_two_files_for_each(
    dcc_here: Cli, bundle: Bundle, pictures: list[Path], tmp_path: Path
) -> None:
    result = dcc_here(
        "match", bundle.path, pictures[0], pictures[0].parent, "-o", tmp_path / "out", "--json"
    )
    assert result.returncode == 0, result.stderr
    assert [json.loads(line)["image"] for line in result.stdout.splitlines()] == list(map(str, pictures))
    assert len(list((tmp_path / "out").iterdir())) == 2 * len(pictures)


# Bad input -------------------------------------------------------------------------------------


def test_bad_pictures(dcc_here: Cli, bundle: Bundle, pictures: list[Path], tmp_path: Path) -> None:
    good = pictures[0]
    text, cut, empty = (tmp_path / name for name in ("text.jpg", "cut.jpg", "empty.jpg"))
    text.write_text("I am a text file")
    cut.write_bytes(good.read_bytes()[:5000])
    empty.touch()
    drawn = tmp_path / "drawn.png"
    for bad, message in (
        (tmp_path / "absent.jpg", "absent.jpg"),
        (text, "text.jpg is not a picture"),
        (cut, "cut.jpg is truncated"),
        (empty, "empty.jpg is empty"),
    ):
        one_sentence(dcc_here("match", bundle.path, good, bad, "-o", drawn), 1, message)
        one_sentence(dcc_here("match", bundle.path, bad, good, "-o", drawn), 1, message)
    assert not drawn.exists()


def test_bad_videos(
    dcc_here: Cli, bundle: Bundle, pictures: list[Path], video: Path, tmp_path: Path
) -> None:
    zero, cut = tmp_path / "zero.mp4", tmp_path / "cut.mp4"
    zero.touch()
    cut.write_bytes(video.read_bytes()[:1000])
    output = tmp_path / "out.mp4"
    for bad, message in (
        (zero, "is empty (0 bytes)"),
        (cut, "cannot be opened as a video"),
        (tmp_path / "absent.mp4", "does not exist"),
    ):
        result = dcc_here("match", bundle.path, "--reference", pictures[0], "--video", bad, "-o", output)
        one_sentence(result, 1, message)
    assert not output.exists() and not output.with_suffix(".jsonl").exists()


def test_inputs_are_never_overwritten(
    dcc_here: Cli, bundle: Bundle, pictures: list[Path], video: Path, tmp_path: Path
) -> None:
    folder, copy = tmp_path / "photos", tmp_path / "pan.mp4"
    shutil.copytree(pictures[0].parent, folder)
    shutil.copy(video, copy)
    (tmp_path / "again").mkdir()
    shutil.copy(pictures[1], tmp_path / "again" / pictures[1].name)
    a, b = (folder / path.name for path in pictures[:2])
    for arguments, message in (
        ([a, b, "-o", a], "is also an input"),
        ([a, folder, "-o", folder], "is also an input"),
        (["--reference", a, "--video", copy, "-o", copy], "is also an input"),
        ([a, b, tmp_path / "again" / b.name, "-o", tmp_path / "out"], "two of the pictures B are called"),
    ):
        one_sentence(dcc_here("match", bundle.path, *arguments), 2, message)
    for path in pictures:
        assert (folder / path.name).read_bytes() == path.read_bytes()
    assert copy.read_bytes() == video.read_bytes() and not (tmp_path / "out").exists()


def test_one_bad_picture_among_many_is_skipped_and_reported(
    dcc_here: Cli, bundle: Bundle, pictures: list[Path], tmp_path: Path
) -> None:
    shutil.copytree(pictures[0].parent, tmp_path / "photos")
    (tmp_path / "photos" / "bad.jpg").write_text("no picture")
    result = dcc_here("match", bundle.path, pictures[0], tmp_path / "photos", "-o", tmp_path / "out")
    assert result.returncode == 1
    assert "bad.jpg is not a picture" in result.stderr and "1 of 4 pictures" in result.stderr
    assert len(list((tmp_path / "out").iterdir())) == 2 * len(pictures)


def test_a_failure_among_many_pictures_keeps_what_was_done_before(
    pictures: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pictures are matched in a thread, while earlier ones are written."""
    others = [tmp_path / f"{number}.jpg" for number in range(6)]
    for path in others:
        shutil.copy(pictures[1], path)
    with Matcher.open(threads=1) as matcher:
        match, calls = matcher.match, list[int]()

        def third_fails(*pair: Any) -> Correspondences:
            calls.append(len(calls))
            if len(calls) == 3:
                raise EngineError("the third one failed")
            return match(*pair)

        matcher.match = third_fails  # type: ignore[assignment, method-assign]
        before = threading.active_count()
        with pytest.raises(EngineError, match="the third one failed"):
            match_many(lambda: matcher, pictures[0], others, tmp_path / "out", Report(None, False))
        assert threading.active_count() == before
    assert len(calls) == 3
    assert sorted(p.name for p in (tmp_path / "out").glob("*.json")) == ["0.json", "1.json"]
    assert [line.split("\t")[0] for line in capsys.readouterr().out.splitlines()] == [
        str(path) for path in others[:2]
    ]


def test_one_picture_in_a_folder_is_treated_like_several(
    dcc_here: Cli, bundle: Bundle, pictures: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "one").mkdir()
    shutil.copy(pictures[1], tmp_path / "one" / "x.jpg")
    result = dcc_here("match", bundle.path, pictures[0], tmp_path / "one", "-o", tmp_path / "out", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["image"].endswith("x.jpg")
    assert (tmp_path / "out" / "x.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["A"], "name a second picture, B, to match"),
        (["--video", "x.mp4"], "--video and --reference go together"),
        (["A", "B", "--points", "1;2"], "--points must look like"),
        (["A", "B", "--points", "1,nan"], "--points must look like"),
        (["A", "B", "--points", "9999,1"], "outside the"),
        (["A", "B", "-o", "x.docx"], "its suffix must be one of"),
        (["A", "B", "A", "-o", "x.png"], "names a folder"),
        (["A", "--reference", "A", "--video", "B"], "no other"),
        (["A", "B", "--smooth"], "--smooth goes with --video"),
        (["A", "B", "--draw", "dots"], "--draw dots goes with --video"),
        (["A", "B", "--draw", "grid", "--points", "1,1"], "remove --draw"),
        (["A", "B", "--batch", "2"], "--batch goes with --video"),
        (["--reference", "A", "--video", "B", "-o", "x.png"], "%06d"),
        (["--reference", "A", "--video", "B", "--codec", "h264!"], "four letters"),
        (["--reference", "A", "--video", "B", "--save-masks", "x"], "goes with --mask"),
        (["--reference", "A", "--video", "B", "--box", "1,2"], "--box must look like"),
        (["--reference", "A", "--video", "B", "--box", "0,0,9999,9"], "the box 0,0,9999,9"),
        (["--reference", "A", "--video", "B", "--points", "9999,1"], "outside the"),
        (["--reference", "A", "--reference", "previous", "--video", "B"], "goes with no other"),
        (["--reference", "A", "--reference", "B", "--video", "B", "--points", "1,2"], "COCO"),
        (["--reference", "frame:9", "--video", "B"], "fewer than 10 frames"),
        (["--reference", "A", "--video", "D", "-o", "D/%d.jpg"], "write to another folder"),
    ],
)
def test_match_usage(
    dcc_here: Cli, bundle: Bundle, pictures: list[Path], arguments: list[str], message: str
) -> None:
    names = {"A": str(pictures[0]), "B": str(pictures[1]), "D": str(pictures[0].parent)}
    names["D/%d.jpg"] = f"{names['D']}/%d.jpg"
    one_sentence(dcc_here("match", bundle.path, *[names.get(a, a) for a in arguments]), 2, message)


def _flip_a_byte(path: Path) -> None:
    data = bytearray((path / "encoder.onnx").read_bytes())
    data[1000] ^= 1
    (path / "encoder.onnx").write_bytes(data)


def _newer_schema(path: Path) -> None:
    manifest = path / "manifest.json"
    manifest.write_text(manifest.read_text().replace(f'"schema": {SCHEMA}', '"schema": 7'))


def _no_manifest(path: Path) -> None:
    (path / "manifest.json").unlink()


def _not_json(path: Path) -> None:
    (path / "manifest.json").write_text("{")


def _remove(path: Path) -> None:
    shutil.rmtree(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_flip_a_byte, "encoder.onnx is not the file that was exported"),
        (_newer_schema, "schema 7 and this dcc reads schemas 3 to 4: upgrade dccnet"),
        (_no_manifest, "not a bundle"),
        (_not_json, "manifest.json is damaged"),
        (_remove, "does not exist"),
    ],
)
def test_bad_bundles(
    dcc_here: Cli,
    bundle: Bundle,
    pictures: list[Path],
    tmp_path: Path,
    damage: Callable[[Path], None],
    message: str,
) -> None:
    path = Path(shutil.copytree(bundle.path, tmp_path / "b"))
    damage(path)
    one_sentence(dcc_here("match", path, *pictures[:2]), 1, message)


def test_bad_checkpoints(dcc_here: Cli, tmp_path: Path, pictures: list[Path]) -> None:
    nan, other, pickled = (tmp_path / f"{name}.safetensors" for name in ("nan", "other", "pickled"))
    model = build(SMALL)
    model.consensus.layers[0].bias.data.fill_(float("nan"))
    save_checkpoint(model, nan)
    import torch

    save_file({"a": torch.zeros(2)}, other)
    torch.save({"a": torch.zeros(2)}, pickled)
    for bad, message in (
        (nan, "not finite (NaN or infinity)"),
        (other, "but not of dccnet"),
        (pickled, "looks like a PyTorch pickle"),
        (pictures[0], "is not a dccnet checkpoint"),
        (tmp_path / "absent.safetensors", "does not exist"),
    ):
        one_sentence(dcc_here("export", bad, "-o", tmp_path / "b"), 1, message)
    one_sentence(dcc_here("import", other, "-o", tmp_path / "x.safetensors"), 1, "other.safetensors")
    assert not (tmp_path / "b").exists() and not (tmp_path / "x.safetensors").exists()


def test_bad_training_input(dcc_here: Cli, tmp_path: Path, pictures: list[Path]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.csv").write_text("source_image,target_image,class,flip\n")
    keypointless = tmp_path / "pictures" / "list.csv"
    shutil.copytree(pictures[0].parent, keypointless.parent)
    keypointless.write_text(f"source_image,target_image,class,flip\n{pictures[0].name},cat.jpg,1,0\n")
    lonely = tmp_path / "lonely"
    lonely.mkdir()
    shutil.copy(pictures[0], lonely)
    run = ["-o", tmp_path / "run", "--preset", "tiny", "--weights", "random"]
    for arguments, code, message in (
        (["--synthetic", tmp_path / "empty"], 1, "no pictures"),
        (["--data", tmp_path / "list.csv"], 1, "is empty"),
        (["--data", tmp_path / "absent.csv"], 1, "does not exist"),
        ([], 2, "--data"),
        (["--synthetic", pictures[0].parent, "--set", "colour=red"], 2, "FIELD=VALUE"),
        (["--synthetic", pictures[0].parent, "--set", "image_size=[8,8]"], 2, "from 32 to 4096"),
        (["--synthetic", pictures[0].parent, "--set", "backbone=x"], 2, "unknown backbone"),
        (["--synthetic", pictures[0].parent, "--weights", "absent.pth"], 1, "do not exist"),
        (["--synthetic", pictures[0].parent, "--set", "embedding=no"], 2, "true or false"),
        (["--synthetic", pictures[0].parent, "--learning-rate", "-1"], 2, "--learning-rate"),
        (["--synthetic", pictures[0].parent, "--learning-rate", "nan"], 2, "nan is not a number"),
        (["--synthetic", pictures[0].parent, "--validate", keypointless], 1, "no keypoints"),
        (["--synthetic", lonely], 1, "one photograph"),
    ):
        one_sentence(dcc_here("train", *run, *arguments), code, message)
    assert not (tmp_path / "run").exists()
    one_sentence(dcc_here("train", "--resume", tmp_path / "run"), 1, "holds no training run")


def test_without_an_engine_one_sentence_says_what_to_install(
    dcc: Cli, bundle: Bundle, pictures: list[Path], tmp_path: Path
) -> None:
    import os

    (tmp_path / "onnxruntime.py").write_text("raise ImportError('not installed')")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    result = dcc("match", bundle.path, *pictures[:2], env=environment)
    one_sentence(result, 1, install("cpu"))


def test_an_unwritable_output_is_one_sentence(dcc_here: Cli, checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    one_sentence(dcc_here("export", checkpoint, "-o", tmp_path / "file" / "b"), 1, "cannot write")


def test_start_up_is_quick() -> None:
    """CPU time, which does not depend on other processes as wall time does."""
    code = (
        "import resource\nfrom dccnet import cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass\n"
        + ("used = resource.getrusage(resource.RUSAGE_SELF)\nprint(used.ru_utime + used.ru_stime)")
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(result.stdout.splitlines()[-1]) < 0.3
