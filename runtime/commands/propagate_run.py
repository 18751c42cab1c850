"""A run of ``dcc propagate``: from a job to files and a summary."""

from __future__ import annotations

import dataclasses
import os
import shutil
import time
from pathlib import Path
from typing import Any

from dccnet.runtime.annotations.files import write_annotations
from dccnet.runtime.annotations.model import Picture
from dccnet.runtime.console import note, progress_bar, warn
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.propagate.carrying import SEMANTIC, TEMPORAL
from dccnet.runtime.propagate.inputs import Inputs
from dccnet.runtime.propagate.outputs import MaskFolder, write_frame
from dccnet.runtime.propagate.review import Sheet
from dccnet.runtime.propagate.run import Job, open_journal, propagate, result_of

PROGRESS = ".progress"
"""What is added to the output's name for the folder of its journal."""
MODES = {
    SEMANTIC: "semantic (each picture by itself)",
    TEMPORAL: "temporal (frames of one video: points follow the picture)",
}
"""What is told of each mode."""


class Run:
    """One run of the command: its files, and what is known when it ends."""

    def __init__(
        self,
        job: Job,
        output: Path,
        form: str,
        review: Path | None,
        masks: Path | None,
        frames: Path | None,
        inputs: Inputs,
        model: str,
    ) -> None:
        self._job, self._output, self._form, self._inputs = job, output, form, inputs
        self._review, self._frames, self._model = review, frames, model
        self._masks = None if masks is None else MaskFolder(masks, job.targets, inputs.palette)
        self.pictures: list[Picture] = []
        self._resumed, self._seconds = 0, 0.0

    @property
    def problems(self) -> list[Picture]:
        return [picture for picture in self.pictures if picture.problem]

    def carry(self, matcher: Matcher, digest: str, restart: bool, workers: int) -> None:
        """Carry to all targets, then write the files and remove the journal."""
        started, job, output = time.perf_counter(), self._job, self._output
        folder = output.with_name(output.name + PROGRESS)
        facts = {
            "references": str(len(job.references)),
            "mode": MODES[job.mode],
            "points count from": f"confidence {job.settings.min_confidence:g}",
        }
        with (
            open_journal(folder, job, digest, restart, warn) as journal,
            Sheet(self._review or output, job.categories, facts) as sheet,
            progress_bar("{task.fields[rate]}") as progress,
        ):
            task = progress.add_task("carrying", total=job.targets.count or None, rate="")
            paths = dict(zip(job.targets.names(), job.targets.pictures, strict=True))
            done = set(journal.entries)
            if done:
                note(f"continuing: {len(done)} pictures are done")
            for picture, image in propagate(job, matcher, journal, warn, workers):
                self._resumed += picture.name in done
                path = job.targets.video or paths[picture.name]
                if picture.problem:
                    warn(f"{picture.problem}; it is skipped")
                if self._masks is not None:
                    self._masks.write(picture)
                if self._frames is not None and image is not None:
                    assert picture.frame is not None
                    saved = write_frame(self._frames, picture.frame, image)
                    name = os.path.relpath(saved.resolve(), output.parent.resolve()).replace(os.sep, "/")
                    picture = dataclasses.replace(picture, name=name)  # noqa: PLW2901
                    path = saved
                if self._review is not None:
                    sheet.add(picture, image, path)
                self.pictures.append(picture)
                rate = f"{len(self.pictures) / (time.perf_counter() - started):.1f} pictures/s"
                progress.update(task, advance=1, rate=rate)
            self._seconds = time.perf_counter() - started
            self._write()
            if self._review is not None:
                sheet.write()
                note(f"wrote {self._review}")
        shutil.rmtree(folder, ignore_errors=True)

    def _write(self) -> None:
        found = result_of(self._job, self.pictures, self._inputs.hints)
        summary = self.summary()
        info = {
            "description": "carried by dcc propagate",
            "version": f"dcc with {self._model}",
            "mode": summary["mode"],
            "min_confidence": summary["min_confidence"],
            "references": summary["references"],
            "model": self._model,
        }
        video = self._job.targets.video
        own_frames = video is not None and self._frames is None
        write_annotations(found, self._output, self._form, info, str(video) if own_frames else None)
        counted, points = summary["confident_points"], summary["points"]
        share = (
            f", {counted} of {points} points confident ({100 * counted / points:.0f} %)" if points else ""
        )
        new = len(self.pictures) - self._resumed
        rate = f", {new} in {self._seconds:.1f} s ({new / max(self._seconds, 1e-9):.1f}/s)"
        note(f"{len(self.pictures)} pictures{rate}{share}")
        note(f"wrote {self._output}")

    def summary(self) -> dict[str, Any]:
        """Plain values for ``--json``. Counts are of what was carried, without the references."""
        job = self._job
        carried = [
            one for picture in self.pictures for one in picture.instances if one.confidence is not None
        ]
        return {
            "output": str(self._output),
            "format": self._form,
            "mode": job.mode,
            "min_confidence": job.settings.min_confidence,
            "references": [reference.name for reference in job.references],
            "pictures": len(self.pictures),
            "resumed": self._resumed,
            "points": sum(int(one.placed.sum()) for one in carried),
            "confident_points": sum(int(one.annotated.sum()) for one in carried),
            "skipped": [{"name": one.name, "problem": one.problem} for one in self.problems],
            "seconds": round(self._seconds, 3),
        }
