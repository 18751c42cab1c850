"""Kill commands at random moments, and check that nothing is lost.

    python benchmarks/kills.py [--part 1] [--seed 1] [--only train eval ...] [--json FILE]

Each trial starts a command on its own folder and sends it SIGKILL, SIGTERM or SIGINT after a random share
of the CPU time that it takes. Every file that is there by then must be whole, old or new. The command (for
a training: --resume) must then run to its end, leave no scratch file, and give what it gives undisturbed.
One that ends before its signal does not count and is tried again. Commands run in forks of this process,
which has imported everything, so that a trial takes seconds. Prints a row for each command; exits with 1
if a trial failed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx  # noqa: F401 (once, for all forks; as the next ones)
import onnxruntime  # noqa: F401
import torch
from results import save
from safetensors import safe_open

import dccnet.calibration.int8.calibrate
import dccnet.evaluation.runner
import dccnet.export.build
import dccnet.training.run  # noqa: F401
from dccnet.cli import main as dcc
from dccnet.export.bundles.samples import PICTURES
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.files import sha256
from dccnet.runtime.unpack import unpack

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
SIZES = (
    "backbone=resnet18", "image_size=[64,80]", "context_kernel=3", "context_channels=4",
    "consensus_kernels=[3,3]", "consensus_channels=[2,1]",
)  # fmt: skip
SETTINGS = [text for size in SIZES for text in ("--set", size)]


class LostError(Exception):
    """What must not be after a kill."""


@dataclass(frozen=True)
class Command:
    """What is killed. Its functions take the trial's folder, which starts as a copy of the material."""

    run: Callable[[Path], object]
    """Runs in a fork; the second call finishes what the first one began."""
    kills: int
    results: tuple[str, ...]
    """Files and folders whose bytes must be those of an undisturbed run."""
    bundles: tuple[str, ...] = ()
    """Bundles that must be whole where they are there."""
    lines: tuple[str, ...] = ()
    """Outputs of a video, which never end within a line."""


def _init(folder: Path) -> None:
    _dcc("init", "--weights", "random", *SETTINGS, "-o", folder / "network.safetensors")


def _train(folder: Path) -> None:
    run = folder / "run"
    if (run / "config.json").exists():
        _dcc("train", "--resume", run)
    _dcc(
        "train", "--data", folder / "pairs.csv", "--batch-size", 3, "--epochs", 2, "--save-every", 1,
        "--conv4d", "stack", "--weights", "random", *SETTINGS, "-o", run,
    )  # fmt: skip


def _export(folder: Path) -> None:
    os.environ["OMP_NUM_THREADS"] = "1"  # no second process: kills are timed by this one's processor time
    _dcc("export", folder / "network.safetensors", "--conv4d", "stack", "-o", folder / "bundle")


def _calibrate(folder: Path) -> None:
    frames = ("--data", PICTURES, "--frames", 2, "--pairs", 1)
    _dcc("calibrate", folder / "bundle", *frames, "-o", folder / "int8")


def _eval(folder: Path) -> None:
    arguments = ("--benchmark", "pairs", "--data", folder / "points.csv", "-o", folder / "results")
    _dcc("eval", folder / "bundle", *arguments)


def _match(folder: Path) -> None:
    outputs = [text for name in ("out.jsonl", "out.csv") for text in ("-o", folder / name)]
    frames = ("--reference", "frame:0", "--video", folder / "a.mp4")
    _dcc("match", folder / "bundle", *frames, "--points", "30,20", *outputs)


def _unpack(folder: Path) -> None:
    unpack(folder / "a.zip", folder / "data", 1 << 30)


def _dcc(*arguments: object) -> None:
    dcc([str(argument) for argument in arguments])


COMMANDS = {
    "train": Command(_train, 35, ("run/last.safetensors", "run/best.safetensors")),
    "export": Command(_export, 8, ("bundle/encoder.onnx", "bundle/matcher.onnx"), ("bundle",)),
    "calibrate": Command(_calibrate, 35, ("int8/encoder.onnx", "int8/matcher.onnx"), ("bundle", "int8")),
    "eval": Command(_eval, 42, ("results/pairs.csv",)),
    "match": Command(_match, 42, ("out.jsonl", "out.csv"), lines=("out.jsonl", "out.csv")),
    "unpack": Command(_unpack, 42, ("data",)),
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--part", type=float, default=1, help="this part of the kills, for a first look")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS))
    parser.add_argument("--json")
    options = parser.parse_args()
    cv2.setNumThreads(1)  # this process must not have threads when it forks
    torch.set_num_threads(1)
    rows, failures = {}, []
    with tempfile.TemporaryDirectory() as scratch:
        material = Path(scratch) / "material"
        _make(material)
        for name in options.only:
            kills = math.ceil(options.part * COMMANDS[name].kills)
            row, failed = _kill(name, material, Path(scratch) / name, kills, options.seed)
            rows[name], failures = row, failures + failed
            print(f"{name:10} {row}", flush=True)
    kills = sum(row["killed"] for row in rows.values())
    print(f"{kills} kills, {len(failures)} failures")
    save(options.json, seed=options.seed, rows=rows, kills=kills, failures=failures)
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0


def _kill(
    name: str, material: Path, scratch: Path, kills: int, seed: int
) -> tuple[dict[str, float], list[str]]:
    command, reference = COMMANDS[name], scratch / "undisturbed"
    shutil.copytree(material, reference)
    before = os.times()
    status = _wait(_start(command.run, reference))
    after = os.times()
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    if status != 0:
        raise LostError(f"{name} fails undisturbed ({status}): {_told(reference)}")
    counts: Counter[str] = Counter(killed=0, too_late=0)
    failures: list[str] = []
    folder = scratch / "trial"
    while counts["killed"] < kills and counts.total() < 10 * kills:
        rng = random.Random(f"{seed} {name} {counts.total()}")
        sent, share = SIGNALS[counts["killed"] % len(SIGNALS)], rng.random()
        shutil.copytree(material, folder)
        child = _start(command.run, folder)
        while _is_running(child) and _cpu_seconds(child) < share * seconds:
            time.sleep(0.002)
        os.kill(child, sent)
        if _wait(child) == 0:
            counts["too_late"] += 1
        else:
            counts["killed"] += 1
            counts[sent.name] += 1
            try:
                _check_whole(command, folder)
                if status := _wait(_start(command.run, folder)):
                    raise LostError(f"the second run ended with {status}: {_told(folder)}")
                _compare(command, folder, reference)
            except Exception as error:
                failures.append(f"{name}, {sent.name} at {share:.2f}: {type(error).__name__}: {error}")
        shutil.rmtree(folder)
    return {"cpu_seconds": round(seconds, 2), **counts, "failed": len(failures)}, failures


def _start(run: Callable[[Path], object], folder: Path) -> int:
    """Call ``run`` with the folder in a fork; its process number."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        for number, name in ((1, "stdout"), (2, "stderr")):
            os.dup2(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
        (folder / "temporary").mkdir(exist_ok=True)
        tempfile.tempdir = str(folder / "temporary")
        run(folder)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _wait(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _is_running(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _cpu_seconds(child: int) -> float:
    """The CPU time of all threads of a process, which does not depend on what else runs here."""
    fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _told(folder: Path) -> str:
    return (folder / "stderr").read_text(errors="replace")[-2000:]


def _check_whole(command: Command, folder: Path) -> None:
    for path in folder.rglob("*"):
        if any(part.startswith(".dcc") for part in path.parts) or "temporary" in path.parts:
            continue
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".safetensors":
            with safe_open(path, framework="pt"):
                pass
        elif path.name in command.lines and path.stat().st_size and not path.read_bytes().endswith(b"\n"):
            raise LostError(f"{path.name} ends within a line")
    for name in command.bundles:
        if (folder / name).exists():
            Bundle.open(folder / name)


def _compare(command: Command, folder: Path, reference: Path) -> None:
    for name in command.results:
        found, wanted = (_digests(root / name) for root in (folder, reference))
        if found != wanted:
            raise LostError(f"{name} differs from that of an undisturbed run")
    # Not what PyTorch keeps there for its next process.
    left = [path for path in folder.rglob("*") if path.name.startswith((".dcc-", "tmp"))]
    if left:
        raise LostError(f"scratch is left: {', '.join(str(path.relative_to(folder)) for path in left)}")


def _digests(path: Path) -> dict[str, str]:
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return {str(file.relative_to(path)): sha256(file) for file in files}


def _make(folder: Path) -> None:
    """What the commands read: a network, a bundle to replace, pairs, a video, an archive and its folder."""
    folder.mkdir()
    for run in (_init, _export):
        if _wait(_start(run, folder)) != 0:
            raise LostError(_told(folder))
    pictures = sorted(PICTURES.glob("*.jpg"))
    pairs = [f"{a},{b},1" for a in pictures for b in pictures]
    weak = [f"{pair},0\n" for pair in pairs]
    strong = [f"{pair},5;20;{x},4;15;28,6;21;30,5;16;27\n" for x in range(30, 40) for pair in pairs]
    for name, columns, rows in (("pairs", "flip", weak), ("points", "XA,YA,XB,YB", strong)):
        (folder / f"{name}.csv").write_text(f"source_image,target_image,class,{columns}\n{''.join(rows)}")
    picture = cv2.resize(cv2.imread(str(pictures[0])), (96, 72))
    writer = cv2.VideoWriter(str(folder / "a.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (96, 72))
    for shift in range(40):
        writer.write(np.roll(picture, shift, axis=1))
    writer.release()
    (folder / "out.csv").write_text("of an earlier run\n")
    (folder / "data" / "x").mkdir(parents=True)
    (folder / "data" / "x" / "mine.txt").write_text("the user's")
    with zipfile.ZipFile(folder / "a.zip", "w") as pack:
        for number in range(3000):
            pack.writestr(f"x/{number}.txt", f"{number}" * 2000)


if __name__ == "__main__":
    sys.exit(main())
