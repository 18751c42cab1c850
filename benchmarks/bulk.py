"""What `dcc match --pairs` costs: memory, encodings, kills, and its overhead against `match_many`.

    python benchmarks/bulk.py [--pairs 100000] [--pictures 2000] [--only machinery kills] [--json FILE]
    python benchmarks/bulk.py --only overhead --model small-1 [--rounds 5]

`machinery` matches generated pictures with a backend that computes nothing: what surrounds a network is
measured, which is resident memory, encodings per picture, processor time of a pair. Lists: `random`, pairs
at random, with room for the features of all pictures, of 85 % and of half of them; `groups`, groups of 20
pictures in shuffled order, with room for 5 % of all. Memory grows until the features are as many as there
is room for; the peak of the next tenth of the run is compared with that of the last tenth. `kills` kills
such a run three times by SIGKILL and compares its rows with those of an undisturbed one. `overhead`
compares processor time and wall time with `Matcher.match_many` and `mutual` on the same pairs, in turns.
Exits with 1 if memory grows by more than 5 %, rows differ, or a picture of a list that fits to 85 % is
encoded more than 1.2 times.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import cv2
import numpy as np
from pyarrow import parquet
from results import save
from stream_memory import resident_mb

from dccnet.export.bundles.samples import PICTURES
from dccnet.runtime import Matcher
from dccnet.runtime.bulk.job import Job
from dccnet.runtime.bulk.match_pairs import match_pairs, run_here
from dccnet.runtime.bulk.pair_list import open_list
from dccnet.runtime.frames import FrameFormat

GRID = (15, 15)
FEATURES = 1 << 14  # float32 values of a picture: 64 KB
WHOLE = 1 << 18  # pairs of a window: the usual
LISTS = {
    "random, all fit": (False, 1.0, WHOLE),
    "random, 85 % fit": (False, 0.85, WHOLE),
    "random, 85 % fit, windows of 10,000": (False, 0.85, 10_000),
    "random, half fits": (False, 0.5, WHOLE),
    "groups, 5 % fit": (True, 0.05, WHOLE),
}
"""By name: whether in groups, the share of pictures whose features have room, and pairs of a window."""
KILLS = 3


class NoNetwork:
    """Features without meaning, and a match of every cell with itself."""

    description = "no network"
    encoded = 0

    def encode(self, frame: Any, stream: int | None = None) -> dict[str, Any]:
        self.encoded += 1
        return {"local": np.full((1, 1, 1, FEATURES), frame.mean(), np.float32)}

    def match(self, a: Any, b: Any, stream: int | None = None) -> dict[str, Any]:
        cells = np.arange(GRID[0] * GRID[1])
        scores = np.full(cells.shape, 1 / (1 + abs(a["local"].item(0) - b["local"].item(0))), np.float32)
        return {"index_a": cells, "score_a": scores, "index_b": cells.copy(), "score_b": scores.copy()}

    def close(self) -> None: ...


def no_network() -> Matcher:
    frames = FrameFormat((32, 40), "uint8")
    manifest = SimpleNamespace(
        confidence=None, image_size=(32, 40), grid=GRID, heatmaps=False, fine=None, frames=frames
    )
    return Matcher(cast(Any, manifest), NoNetwork())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--only", nargs="+", default=["machinery", "kills"])
    parser.add_argument("--model", default="small-1")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        return child(*options.child)
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if "overhead" in options.only:
            results["overhead"] = overhead(folder, options.model, options.rounds)
        if {"machinery", "kills"} & set(options.only):
            make_pictures(folder, options.pictures)
        if "machinery" in options.only:
            results["machinery"] = machinery(folder, options.pictures, options.pairs)
        if "kills" in options.only:
            results["kills"] = kills(folder, options.pictures, options.pairs)
    save(options.json, pairs=options.pairs, pictures=options.pictures, **results)
    checked = [*results.get("machinery", {}).values(), results.get("kills", {"failed": False})]
    return int(any(row["failed"] for row in checked))


def make_pictures(folder: Path, count: int) -> None:
    for number in range(count):
        picture = np.full((48, 60, 3), number % 256, np.uint8)
        picture[: number // 256 + 1, 0] = 255 - number % 256
        cv2.imwrite(str(folder / f"{number}.png"), picture)


def write_list(folder: Path, pictures: int, pairs: int, in_groups: bool) -> Path:
    rng = np.random.default_rng(1)
    both = rng.integers(0, pictures, (pairs, 2))
    if in_groups:
        both[:, 1] = both[:, 0] // 20 * 20 + both[:, 1] % 20
    path = folder / "pairs.csv"
    path.write_text("source,target\n" + "".join(f"{a}.png,{b}.png\n" for a, b in both.tolist()))
    return path


def machinery(folder: Path, pictures: int, pairs: int) -> dict[str, Any]:
    rows = {}
    for name, (in_groups, share, window) in LISTS.items():
        path, room = write_list(folder, pictures, pairs, in_groups), int(share * pictures)
        output = folder / "out"
        command = [sys.executable, __file__, "--child", str(path), str(output), str(room), str(window)]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        shutil.rmtree(output)
        row = json.loads(told)
        each, full, last = row["encoded"] / pictures, row["peak_when_full_mb"], row["peak_at_the_end_mb"]
        growth = last / full - 1
        late = row["full_after"] > 0.9  # nothing to compare
        failed = (growth > 0.05 and not late) or (
            each > 1.2 and (in_groups or share >= 0.85) and window >= pairs
        )
        rows[name] = row | {"room": room, "per_picture": each, "growth": growth, "failed": failed}
        print(
            f"{name}: {each:.2f} encodings per picture, {1000 * row['cpu_s'] / pairs:.2f} ms of processor "
            f"time per pair; full after {row['full_after']:.0%}, memory then {full:.0f} MB, in the last "
            f"tenth {last:.0f} MB ({growth:+.1%})",
            flush=True,
        )
    return rows


def child(pairs: str, output: str, room: str, window: str) -> int:
    """Match in this process; print what was encoded, processor time, and memory, as JSON."""
    path, matcher = Path(pairs), no_network()
    backend = cast(NoNetwork, matcher.backend)
    job = Job(open_list(path), Path(output), path.parent, "none", False, int(room), window=int(window))
    pictures = sum(1 for _ in path.parent.glob("*.png"))
    total, done = job.pairs.rows, 0
    encoded, memory = np.zeros(total, np.int32), np.zeros(total, np.float32)

    def count(some: int) -> None:
        nonlocal done
        encoded[done] = backend.encoded
        memory[done] = resident_mb() if done % 50 == 0 else 0
        done += some

    started = time.process_time()
    summary = run_here(job, matcher, on_pairs=count)
    full = int(np.argmax(encoded >= min(int(room), pictures - 1)))
    values = {
        "encoded": summary.encoded,
        "cpu_s": time.process_time() - started,
        "full_after": full / total,
        "peak_when_full_mb": float(memory[full : full + total // 10].max()),
        "peak_at_the_end_mb": float(memory[-total // 10 :].max()),
        "every_tenth_mb": [float(part.max()) for part in np.array_split(memory, 10)],
    }
    print(json.dumps(values))
    return 0


def kills(folder: Path, pictures: int, pairs: int) -> dict[str, Any]:
    path, room = write_list(folder, pictures, pairs, False), str(int(0.85 * pictures))
    outputs = folder / "killed", folder / "undisturbed"
    killed_at = []
    for output in outputs:
        command = [sys.executable, __file__, "--child", str(path), str(output), room, str(WHOLE)]
        for number in range(1, KILLS + 1) if output == outputs[0] else ():
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            while process.poll() is None and parts(output) < number * (pairs // 1024) // (KILLS + 1):
                time.sleep(0.002)
            process.kill()
            process.wait()
            killed_at.append(parts(output))
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    tables = [
        parquet.read_table(output / "matches").drop_columns(["seconds"]).sort_by("pair")
        for output in outputs
    ]
    left = [str(p) for p in outputs[0].rglob(".dcc*")]
    same = tables[0].equals(tables[1]) and tables[0]["pair"].to_pylist() == list(range(pairs)) and not left
    print(f"killed with {killed_at} of {-(-pairs // 1024)} parts; the same {pairs} rows: {same}")
    return {"killed_at_parts": killed_at, "same": same, "failed": not same}


def parts(output: Path) -> int:
    return sum(1 for _ in output.glob("matches/part-*"))


def overhead(folder: Path, model: str, rounds: int) -> dict[str, Any]:
    photos = [cv2.imread(str(path)) for path in sorted(PICTURES.glob("*.jpg"))]
    rng, names = np.random.default_rng(1), []
    for number in range(30):
        photo = photos[number % len(photos)]
        y, x = (int(rng.integers(0, side // 4)) for side in photo.shape[:2])
        names.append(f"{number}.jpg")
        cv2.imwrite(str(folder / names[-1]), cv2.resize(photo[y:, x:], (480, 360)))
    chosen = rng.permutation([(a, b) for a in names for b in names if a != b])[:100].tolist()
    path = folder / "pairs.csv"
    path.write_text("source,target\n" + "".join(f"{a},{b}\n" for a, b in chosen))
    matcher = Matcher.open(model, threads=1)
    pairs = [(folder / a, folder / b) for a, b in chosen]
    seconds: dict[str, list[tuple[float, float]]] = {"match_many": [], "bulk": []}
    for turn in range(rounds + 1):
        for name, times in seconds.items():
            began = time.process_time(), time.perf_counter()
            if name == "bulk":
                match_pairs(matcher, path, folder / f"out{turn}", cache_gb=1)
            else:
                for result in matcher.match_many(pairs):
                    result.mutual()
            if turn:  # the first round warms up
                times.append((time.process_time() - began[0], time.perf_counter() - began[1]))
    medians = {name: np.median(times, axis=0) for name, times in seconds.items()}
    ratio = medians["bulk"] / medians["match_many"]
    for name, (cpu, wall) in medians.items():
        print(
            f"{name}: {len(pairs) / wall:.2f} pairs/s, {1000 * cpu / len(pairs):.1f} ms of processor time"
        )
    print(
        f"bulk takes {ratio[0]:.3f} times the processor time of match_many, {ratio[1]:.3f} times its time"
    )
    written = sum(file.stat().st_size for file in (folder / "out0" / "matches").iterdir()) / len(pairs)
    read = sum((folder / name).stat().st_size for name in names) / len(names)
    encode, match = parts_of_a_pair(matcher, [cv2.imread(str(folder / name)) for name in names])
    print(
        f"{read / 1000:.1f} kB are read per picture, {written / 1000:.1f} kB written per pair; processor "
        f"time of an encoding {1000 * encode:.1f} ms, of a match {1000 * match:.1f} ms"
    )
    medians |= {"bytes": np.array([read, written]), "encode and match": np.array([encode, match])}
    return {name: value.tolist() for name, value in {**medians, "ratio": ratio}.items()}


def parts_of_a_pair(matcher: Matcher, images: list[Any]) -> tuple[float, float]:
    """Seconds of processor time of one encoding, and of one match."""
    began = time.process_time()
    features = [matcher.encode(image) for image in images]
    encoded = time.process_time()
    for a, b in pairwise(features):
        matcher.match(a, b).mutual()
    return (encoded - began) / len(images), (time.process_time() - encoded) / (len(images) - 1)


if __name__ == "__main__":
    sys.exit(main())
