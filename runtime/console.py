"""Messages and progress bars on stderr, tables on stdout."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

console = Console(stderr=True, highlight=False, soft_wrap=True)


def note(message: str) -> None:
    """One line of information on stderr."""
    console.print(message, markup=False)


def warn(message: str) -> None:
    """One line on stderr that starts with ``warning:``."""
    console.print(f"warning: {message}", style="yellow", markup=False)


def print_wide(content: RenderableType, width: int) -> None:
    """Print to stdout, ``width`` characters wide where stdout is no terminal and has no width itself."""
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
        disable=not console.is_terminal,  # a log file cannot show it
    )


class Steps:
    """Progress of a few long steps: call it with a text when a step starts; :meth:`detail` adds to it."""

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
    """A progress bar for ``total`` long steps."""
    with progress_bar() as progress:
        yield Steps(progress, description, total)


def table_console() -> Console:
    """A console for tables on stdout that does not take square brackets for markup."""
    table = Console(highlight=False, markup=False, emoji=False)
    if not table.is_terminal:
        table.width = 160  # characters; a file has no width at which rich could fold
    return table
