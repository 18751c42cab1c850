"""What people read while they wait: on stderr, so that stdout stays data."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    from dccnet.runtime.video.timing import StreamStats

console = Console(stderr=True, highlight=False, soft_wrap=True)


def note(message: str) -> None:
    """One line of information on stderr."""
    console.print(message, markup=False)


def warn(message: str) -> None:
    console.print(f"warning: {message}", style="yellow", markup=False)


def print_wide(content: RenderableType, width: int) -> None:
    """Print to stdout, ``width`` characters wide where that is no terminal: a file has no edge."""
    out = Console(highlight=False)
    if not out.is_terminal:
        out.width = width
    out.print(content)


def progress_bar(*columns: str) -> Progress:
    """A bar with count and time left; ``columns`` are further rich texts such as ``{task.fields[x]}``."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        *(TextColumn(column) for column in columns),
        console=console,
        transient=True,
        disable=not console.is_terminal,  # nothing to see in a log file
    )


class Steps:
    """Called with a line at the start of each step; :meth:`detail` says what goes on within it."""

    def __init__(self, progress: Progress, description: str, total: int) -> None:
        self._progress, self._text, self._started = progress, description, False
        self._task = progress.add_task(description, total=total, start=True)

    def __call__(self, text: str) -> None:
        self._progress.update(self._task, description=text, advance=1 if self._started else 0)
        self._text, self._started = text, True

    def detail(self, text: str) -> None:
        self._progress.update(self._task, description=f"{self._text}: {text}")


@contextlib.contextmanager
def steps(description: str, total: int) -> Iterator[Steps]:
    """A bar for a few long steps."""
    with progress_bar() as progress:
        yield Steps(progress, description, total)


def stats_table(stats: StreamStats) -> None:
    """Milliseconds of a frame by stage, and the stage that the others wait for."""
    summary = f"{stats.frames} frames, {stats.dropped} dropped, {stats.rate:.1f} frames/s"
    table = Table("stage", title=summary, title_justify="left")
    for column in ("median ms", "p95 ms", "busy"):
        table.add_column(column, justify="right")
    for name, stage in stats.stages.items():
        busy = f"{100 * stage.total_s / max(stats.seconds, 1e-9):.0f} %"
        table.add_row(name, f"{1e3 * stage.median_s:.2f}", f"{1e3 * stage.p95_s:.2f}", busy)
    console.print(table)
    console.print(f"limited by {stats.limiting}")


def table_console() -> Console:
    """For tables on stdout; square brackets in their texts are no markup."""
    table = Console(highlight=False, markup=False, emoji=False)
    if not table.is_terminal:
        table.width = 160  # a file has no edge to fold at
    return table
