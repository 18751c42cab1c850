"""What ``dcc propagate`` gets right, and how fast it is.

    python benchmarks/propagate.py classes PACKPAIRS [--classes 1 2 3]    # animals, by default
    python benchmarks/propagate.py references WILLOW-OBJECTCLASS [--classes Motorbike Winebottle]
    python benchmarks/propagate.py video DAVIS-BADJA
    python benchmarks/propagate.py many [--pictures 1000]

All but the last take --views, that of the command.

classes: each source picture of a list of pairs is annotated in COCO, its points are carried by the command
to all pictures that it is paired with, and read back by pycocotools. PCK@0.1 of the box of the target's
points. "confident" are points whose visibility is not 0. The confidence of the built-in model was fitted to
these pairs.

references: the same with 1, 3 and 5 annotated pictures of a class of Willow Object Class, whose points have
the same names; all but the first five are targets. How votes become confidence was chosen on Car and Duck,
which are left out by default.

video: the first frame with joints is annotated, and carried to the other frames by the command, as one
video and each frame by itself; beside it the benchmarks' cell transfer from the same frame, and
Lucas-Kanade (dcc eval --benchmark video). PCK: joints within 0.2 of the root of the mask's area; mean over
the frames of a sequence, then over sequences.

many: pictures of 640x480 are cut from photographs that scikit-image brings. The command is killed once, and
continues; memory is that of its process.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from results import save

from dccnet.evaluation.pairs import read_pairs
from dccnet.evaluation.video.clips import Clip, read_clips
from dccnet.evaluation.video.trackers import LUCAS_KANADE, lucas_kanade
from dccnet.runtime.arrays import Points
from dccnet.runtime.commands.propagate import propagate_command
from dccnet.runtime.confidence import VISIBLE
from dccnet.runtime.images import read_image
from dccnet.runtime.matcher import Matcher

ALPHA = 0.1
ALL = f"PCK@{ALPHA}, all points"
Named = Mapping[str, Any]
"""Points (x, y) by name."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["classes", "references", "video", "many"])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--classes", nargs="+", default=["1", "2", "3", "Motorbike", "Winebottle"])
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--views", default="1")
    parser.add_argument("--json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if options.what == "many":
            result = many(folder, options.pictures)
        elif options.what == "video":
            result = video(options.data, folder, options.views)
        elif options.what == "references":
            result = references(options.data, options.classes, folder, options.views)
        else:
            result = classes(options.data, options.classes, folder, options.views)
    for name, value in result.items():
        print(f"{name:44s} {value:.2f}" if isinstance(value, float) else f"{name:44s} {value}")
    save(options.json, **result)


def classes(data: Path, chosen: Iterable[str], scratch: Path, views: str) -> dict[str, Any]:
    pairs = [pair for pair in read_pairs(data / "test_pairs.csv") if str(pair.category) in chosen]
    by_source: dict[str, list[Any]] = {}
    for pair in pairs:
        by_source.setdefault(pair.source.key, []).append(pair)
    scores: list[tuple[bool, bool]] = []
    for number, (source, own) in enumerate(by_source.items()):
        named: dict[str, Any] = {}
        truths: dict[str, dict[str, Any]] = {}
        for pair in own:
            for a, b in zip(pair.source_points, pair.target_points, strict=True):
                name = f"{a[0]:g} {a[1]:g}"  # a point is known by its place in the source
                named[name] = a
                truths.setdefault(pair.target.key, {})[name] = b
        folder = linked(scratch / f"{number}", [source, *truths])
        reference = coco_file(scratch / f"{number}.json", {Path(source).name: named})
        found = carried(reference, folder, scratch / f"{number}-out.json", "--views", views)
        for key, truth in truths.items():
            scores += scored(found[Path(key).name], truth, ALPHA * longer_side(truth))
    result = summarised(scores)
    del result[ALL]  # places of points that do not count are not in COCO
    return result | {"pairs": len(pairs), "references": len(by_source)}


def references(data: Path, chosen: Iterable[str], scratch: Path, views: str) -> dict[str, Any]:
    rows = [row for row in csv.DictReader((data / "images.csv").open()) if row["class"] in chosen]
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        points = {f"p{k}": np.array([float(row[f"x{k}"]), float(row[f"y{k}"])]) for k in range(1, 11)}
        found.setdefault(row["class"], {})[row["image"]] = points
    result: dict[str, Any] = {"classes": len(found), "pictures": len(rows)}
    for count in (1, 3, 5):
        scores: list[tuple[bool, bool]] = []
        for name, pictures in found.items():
            keys = sorted(pictures)
            targets = keys[5:]  # the same for each number of references
            folder = linked(scratch / f"{name}-{count}", [str(data / key) for key in keys])
            known = {Path(key).name: pictures[key] for key in keys[:count]}
            reference = coco_file(scratch / f"{name}-{count}.json", known, folder)
            output = scratch / f"{name}-{count}-out.json"
            carried_to = carried(reference, folder, output, "--views", views, every=True)
            for key in targets:
                truth = pictures[key]
                scores += scored(carried_to[Path(key).name], truth, ALPHA * longer_side(truth))
        result |= {f"{count} references: {key}": value for key, value in summarised(scores).items()}
    return result


def video(data: Path, scratch: Path, views: str) -> dict[str, Any]:
    rows: dict[str, list[float]] = {}
    with Matcher.open() as matcher:
        for clip in read_clips(data):
            if not clip.joints:
                continue
            first = clip.frames[clip.first]
            named = dict(zip(clip.names, clip.start_points(), strict=True))
            reference = coco_file(scratch / f"{clip.name}.json", {first.name: named}, first.parent)
            for label, option in (("one video", "--same-instance"), ("each frame", "--different")):
                output = scratch / f"{clip.name}{option}.csv"
                arguments = [str(reference), str(first.parent), "-o", str(output), option, "--views", views]
                propagate_command.main(arguments, standalone_mode=False)
                found = places_in_csv(output)
                predictions = {
                    at: np.array([found[path.name][name] for name in clip.names])
                    for at, path in enumerate(clip.frames)
                }
                rows.setdefault(f"dcc propagate, {label}", []).append(clip_pck(clip, predictions))
            cells = {}
            features = matcher.encode(read_image(first))
            for at in clip.joints:
                result = matcher.match(features, read_image(clip.frames[at]))
                cells[at] = result.transfer(clip.start_points(), "a", rule="cells")
            rows.setdefault("cell transfer from the first frame", []).append(clip_pck(clip, cells))
            tracked = dict(enumerate((p[LUCAS_KANADE].points for p in lucas_kanade(clip)), clip.first + 1))
            rows.setdefault("Lucas-Kanade", []).append(clip_pck(clip, tracked))
    return {f"PCK, {name}": float(np.mean(values)) for name, values in rows.items()}


def places_in_csv(path: Path) -> dict[str, dict[str, Any]]:
    """By picture and name; also of points that do not count, which COCO leaves out."""
    found: dict[str, dict[str, Any]] = {}
    for row in csv.DictReader(path.open()):
        found.setdefault(row["image"], {})[row["label"]] = float(row["x"]), float(row["y"])
    return found


def clip_pck(clip: Clip, predictions: Mapping[int, Points | None]) -> float:
    shares = []
    for at, joints in clip.joints.items():
        if at == clip.first:
            continue
        mask, points = clip.mask(at), predictions[at]
        assert mask is not None and points is not None
        within = 0.2 * np.sqrt((mask > 0).sum())
        hits = [
            np.linalg.norm(points[number] - joints[name]) <= within
            for number, name in enumerate(clip.names)
            if name in joints
        ]
        shares.append(np.mean(hits))
    return 100 * float(np.mean(shares))


def many(scratch: Path, count: int) -> dict[str, Any]:
    folder = scratch / "photos"
    folder.mkdir()
    crops = photographs(count)
    for number, crop in enumerate(crops):
        cv2.imwrite(str(folder / f"{number}.jpg"), crop)
    points = ";".join(f"{x},{y}" for x in (150, 250, 350, 450) for y in (120, 240, 360))
    output = scratch / "all.json"
    command = [sys.executable, "-m", "dccnet", "propagate", str(folder / "0.jpg"), str(folder)]
    command += ["--points", points, "-o", str(output), "--review", str(scratch / "sheet.html"), "--json"]
    started, memory = time.perf_counter(), []
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = scratch / "all.json.progress" / "progress.jsonl"
    while process.poll() is None:
        time.sleep(0.5)
        done = journal.read_bytes().count(b"\n") - 1 if journal.exists() else 0
        with contextlib.suppress(OSError, IndexError):
            status = Path(f"/proc/{process.pid}/status").read_text()
            memory.append((done, int(status.split("VmRSS:")[1].split()[0]) / 1024))
        if done >= 0.6 * count:
            process.send_signal(signal.SIGKILL)
    seconds, killed = time.perf_counter() - started, done
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    rest = subprocess.run(command, capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    summary = json.loads(rest.stdout)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    new = summary["pictures"] - summary["resumed"]
    early = [mb for done, mb in memory if 0.1 * count <= done < 0.2 * count]
    late = [mb for done, mb in memory if done >= 0.5 * count]
    return {
        "pictures": summary["pictures"],
        "killed after": killed,
        "pictures/s until then, with the start": killed / seconds,
        "continued with": summary["resumed"],
        "pictures/s of the rest": new / summary["seconds"],
        "CPU seconds for each picture of the rest": cpu / new,
        "load of the machine (1 minute)": os.getloadavg()[0],
        "memory at 10-20 %, MB": float(np.median(early)),
        "memory from 50 % on, MB": float(np.median(late)),
        "sheet, MB": (scratch / "sheet.html").stat().st_size / 1e6,
    }


def photographs(count: int) -> Iterator[Any]:
    """Crops of photographs in scikit-image, at places and scales that a generator with a seed chooses."""
    from skimage import data

    pictures = [data.chelsea(), data.astronaut(), data.coffee(), data.rocket()]
    random = np.random.default_rng(0)
    for number in range(count):
        picture = pictures[number % len(pictures)][..., ::-1]
        height, width = picture.shape[:2]
        share = random.uniform(0.5, 1.0)
        h, w = int(share * height), int(share * width)
        y, x = random.integers(0, height - h + 1), random.integers(0, width - w + 1)
        yield cv2.resize(picture[y : y + h, x : x + w], (640, 480))


def linked(folder: Path, pictures: Iterable[str]) -> Path:
    folder.mkdir()
    for picture in dict.fromkeys(pictures):
        (folder / Path(picture).name).symlink_to(Path(picture).resolve())
    return folder


def coco_file(path: Path, pictures: Mapping[str, Named], folder: Path | None = None) -> Path:
    """A COCO file with these pictures, beside or in ``folder``, and their points."""
    names = list(dict.fromkeys(name for points in pictures.values() for name in points))
    images, annotations = [], []
    for number, (name, points) in enumerate(pictures.items(), start=1):
        images.append({"id": number, "file_name": name})
        rows = [[*points[key], 2] if key in points else [0, 0, 0] for key in names]
        keypoints = [float(value) for row in rows for value in row]
        annotations.append({"id": number, "image_id": number, "category_id": 1, "keypoints": keypoints})
    categories = [{"id": 1, "name": "thing", "keypoints": names}]
    path.write_text(json.dumps({"images": images, "categories": categories, "annotations": annotations}))
    return path


def carried(
    reference: Path, folder: Path, output: Path, *more: str, every: bool = False
) -> dict[str, tuple[Named, set[str]]]:
    """Run the command, and read its output by pycocotools: for each picture, its points by name, and the
    names of those that count. With ``every``, all places are asked for; the file's confidence decides."""
    from pycocotools.coco import COCO

    arguments = [str(reference), str(folder), "-o", str(output), *more]
    arguments += ["--min-confidence", "0"] if every else []
    propagate_command.main(arguments, standalone_mode=False)
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(output))
    (category,) = coco.loadCats(coco.getCatIds())
    found = {}
    for image in coco.loadImgs(coco.getImgIds()):
        (annotation,) = coco.loadAnns(coco.getAnnIds(imgIds=[image["id"]]))
        rows = np.array(annotation["keypoints"]).reshape(-1, 3)
        names, told = category["keypoints"], annotation.get("keypoint_confidence")
        places = {name: row[:2] for name, row in zip(names, rows, strict=True)}
        counts = rows[:, 2] > 0
        if every:  # a reference has no confidence
            counts = np.ones(len(names), bool) if told is None else np.array(told, float) >= VISIBLE
        found[image["file_name"]] = places, set(np.array(names)[counts].tolist())
    return found


def scored(found: tuple[Named, set[str]], truth: Named, within: float) -> list[tuple[bool, bool]]:
    """For each point, whether it counts, and whether it is right."""
    places, sure = found
    return [(name in sure, bool(np.linalg.norm(places[name] - xy) <= within)) for name, xy in truth.items()]


def longer_side(points: Named) -> float:
    places = np.stack(list(points.values()))
    return float((places.max(axis=0) - places.min(axis=0)).max())


def summarised(scores: list[tuple[bool, bool]]) -> dict[str, Any]:
    sure, right = np.array(scores).T
    return {
        "points": len(scores),
        ALL: 100 * float(right.mean()),
        f"PCK@{ALPHA}, confident points": 100 * float(right[sure].mean()),
        "share of confident points": 100 * float(sure.mean()),
    }


if __name__ == "__main__":
    main()
