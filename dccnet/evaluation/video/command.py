"""``dcc eval --benchmark video``: from options to files and tables."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Sequence
from pathlib import Path

import click

from dccnet.evaluation.tables import WIDTH
from dccnet.evaluation.video.clips import Clip, digest, read_clips
from dccnet.evaluation.video.evaluation import (
    VideoResults,
    VideoSettings,
    open_matcher,
    protocol,
    results,
    run_matcher,
    run_without_network,
    table,
    to_dict,
    write,
)
from dccnet.evaluation.video.scores import ALPHA
from dccnet.runtime.console import note, print_wide, progress_bar
from dccnet.runtime.errors import UsageError
from dccnet.runtime.locks import output_lock
from dccnet.runtime.selection import BackendChoice

RATE = 24.0
"""Frames per second, as in DAVIS."""


def refuse(**options: object) -> None:
    """Raises :class:`UsageError` if one of these options of other benchmarks was given."""
    for name, value in options.items():
        if value:
            raise UsageError(f"--{name.replace('_', '-')} does not apply to --benchmark video")


def evaluate_video(
    models: Sequence[Path],
    folders: Sequence[Path | None],
    data: Path,
    alphas: Sequence[float] | None,
    fps: float | None,
    choice: BackendChoice,
    refine: bool | None,
    views: int,
    as_json: bool,
) -> None:
    """Score every model, and the baselines once, on the clips in ``data``; write to ``folders``.

    Raises :class:`DccError` for what cannot be opened or read.
    """
    if alphas is not None and len(alphas) > 1:
        raise UsageError("--benchmark video takes one --alpha, such as 0.2")
    settings = VideoSettings(ALPHA if alphas is None else alphas[0], fps or RATE)
    clips = read_clips(data)
    sha256 = digest(data, clips)
    note(f"protocol: {protocol(settings)}")
    with contextlib.ExitStack() as locks:
        for folder in folders:
            if folder is not None:
                locks.enter_context(output_lock(folder))
        found = _evaluated(models, clips, settings, sha256, choice, refine, views)
        for result, folder in zip(found, folders, strict=True):
            if folder is not None:
                note(f"wrote {', '.join(map(str, write(folder, result)))}")
    if as_json:
        values = [to_dict(result) for result in found]
        click.echo(json.dumps(values[0] if len(values) == 1 else values, indent=2, allow_nan=False))
        return
    print_wide(table(found), WIDTH)


def _evaluated(
    models: Sequence[Path],
    clips: Sequence[Clip],
    settings: VideoSettings,
    sha256: str,
    choice: BackendChoice,
    refine: bool | None,
    views: int,
) -> list[VideoResults]:
    """The results of every model, each with those of the baselines."""
    matchers = [open_matcher(model, choice, refine, views, note) for model in models]
    frames = sum(len(clip.frames) - clip.first - 1 for clip in clips)
    started = time.perf_counter()
    found = []
    with progress_bar() as progress:
        task = progress.add_task("video", total=2 * frames * (1 + len(models)))

        def on_frame() -> None:
            progress.advance(task)

        baselines = run_without_network(clips, settings, on_frame)
        for model, matcher in zip(models, matchers, strict=True):
            scores = [*run_matcher(matcher, clips, settings, on_frame), *baselines]
            found.append(results(model, matcher, settings, sha256, scores))
    note(f"{frames} frames of {len(clips)} sequences in {time.perf_counter() - started:.1f} s")
    return found
