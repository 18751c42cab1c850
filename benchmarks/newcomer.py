"""How long a newcomer waits: runs the commands of docs/study.md in a fresh clone, and times them.

    python benchmarks/newcomer.py PHOTOS [--keypoints FILE.json] [--work DIR] [--json FILE]
    python benchmarks/newcomer.py PHOTOS --installed

PHOTOS has a folder for each class. The commands are those of the page, word for word; `a.jpg` and `b.jpg`
are the first two pictures of the first class. With --keypoints (COCO; its names are relative to PHOTOS) it
goes the page's way with keypoints, else that without. --installed leaves out clone, environment and pip,
and runs this interpreter's dcc. The clone is one of this repository on the same disk, of its last commit;
pip's downloads count, from wherever pip takes them here. Two sums are printed: from the clone to the first
match (asked for: at most 5 minutes), and to the end of the comparison (at most 20). Exits with 1 if a
command fails or a sum is larger.
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "study.md"
MATCH, INSTALL, COMPARE = "Match two pictures", "Install what training needs", "Compare"
WITH, WITHOUT = "With keypoints", "Without keypoints"
ASKED = {MATCH: 5.0, COMPARE: 20.0}
"""By the heading of the last command: minutes from the clone."""
SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True, slots=True)
class Timed:
    """A command of the page and what it took, in seconds."""

    heading: str
    command: str
    wall: float
    processor: float


def commands(heading: str, page: Path = PAGE) -> list[str]:
    """The commands in the fenced blocks below a heading, in order. Raises ``ValueError`` without any."""
    sections = re.split(r"^## (.+)\n", page.read_text(encoding="utf-8"), flags=re.M)
    bodies = dict(zip(sections[1::2], sections[2::2], strict=True))
    blocks = re.findall(r"^```\n(.*?)^```", bodies.get(heading, ""), re.S | re.M)
    found = [line for block in blocks for line in block.splitlines() if line.strip()]
    if not found:
        raise ValueError(f"{page} has no commands below '{heading}'")
    return found


def way(keypoints: bool) -> list[tuple[str, str]]:
    """All commands of one way through the page, each with its heading."""
    headings = (MATCH, INSTALL, WITH if keypoints else WITHOUT, COMPARE)
    return [(heading, command) for heading in headings for command in commands(heading)]


def installs(command: str) -> bool:
    """Whether a command makes the environment."""
    return not command.startswith("dcc ")


def prepare(folder: Path, photos: Path, keypoints: Path | None) -> None:
    """Link the pictures and the annotations into ``folder`` by the page's names."""
    classes = sorted(path for path in photos.iterdir() if path.is_dir())
    pictures = [path for path in sorted(classes[0].iterdir()) if path.suffix.lower() in SUFFIXES]
    links = {"a.jpg": pictures[0], "b.jpg": pictures[1], "photos": photos}
    for name, target in (links | ({} if keypoints is None else {"keypoints.json": keypoints})).items():
        (folder / name).symlink_to(target.resolve())


def timed(heading: str, command: str, folder: Path, environment: dict[str, str]) -> Timed:
    """Run a command of the page as a shell does. Raises ``subprocess.CalledProcessError`` if it fails."""
    print(f"$ {command}", file=sys.stderr, flush=True)
    activate = f". {shlex.quote(str(folder / '.venv/bin/activate'))}; "
    line = (activate if (folder / ".venv/bin/activate").exists() else "") + command
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(["bash", "-c", line], cwd=folder, env=environment, check=True, stdin=subprocess.DEVNULL)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"# {wall:.1f} s, {processor:.1f} s of processor time", file=sys.stderr, flush=True)
    return Timed(heading, command, wall, processor)


def run(work: Path, photos: Path, keypoints: Path | None, installed: bool) -> Iterator[Timed]:
    """Time every command of the page in ``work``."""
    folder, environment = work / "dcc", dict(os.environ)
    environment.pop("PYTHONPATH", None)
    if installed:
        folder.mkdir()
        (work / "bin").mkdir()
        script = work / "bin" / "dcc"
        script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m dccnet "$@"\n')
        script.chmod(0o755)
        environment |= {"PATH": f"{script.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    else:
        yield timed(MATCH, f"git clone --quiet {shlex.quote(str(ROOT))} dcc", work, environment)
    prepare(folder, photos, keypoints)
    for heading, command in way(keypoints is not None):
        if not (installed and installs(command)):
            yield timed(heading, command, folder, environment)


def report(rows: list[Timed]) -> tuple[str, bool]:
    """A table of commands and sums, and whether the sums are small enough."""
    lines = ["| command | minutes | CPU minutes |", "|---|---:|---:|"]
    wall = processor = 0.0
    met = True
    for number, row in enumerate(rows):
        wall, processor = wall + row.wall / 60, processor + row.processor / 60
        lines.append(f"| `{row.command}` | {row.wall / 60:.1f} | {row.processor / 60:.1f} |")
        last = number + 1 == len(rows) or rows[number + 1].heading != row.heading
        if last and row.heading in ASKED:
            asked = ASKED[row.heading]
            met = met and wall <= asked
            lines.append(
                f"| **until here** (asked for: {asked:g}) | **{wall:.1f}** | **{processor:.1f}** |"
            )
    return "\n".join(lines), met


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photos", type=Path)
    parser.add_argument("--keypoints", type=Path)
    parser.add_argument("--work", type=Path, help="an empty folder that is kept; else a temporary one")
    parser.add_argument("--installed", action="store_true")
    parser.add_argument("--json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        rows = list(run(work.resolve(), options.photos, options.keypoints, options.installed))
    text, met = report(rows)
    print(text)
    if options.json:
        from results import save

        save(
            options.json, commands=[{name: getattr(row, name) for name in Timed.__slots__} for row in rows]
        )
    sys.exit(0 if met else 1)


if __name__ == "__main__":
    main()
