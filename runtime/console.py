"""Messages and progress bars on stderr, tables on stdout."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import IO, Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment

from dccnet.runtime.standard_streams import VisibleStream, visible


class _SafeConsole(Console):
    """Writes control characters of texts as escapes; its own styles and cursor movements stay."""

    @property
    def file(self) -> IO[str]:
        stream: Any = super().file
        return stream.hidden if isinstance(stream, VisibleStream) else stream

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        self._file = new_file

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


# Texts are printed as they are: names of files and classes may contain [brackets] and :colons:.
_PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
console = _SafeConsole(stderr=True, soft_wrap=True, **_PLAIN)


def note(message: str) -> None:
    """One line of information on stderr."""
    console.print(message)


def warn(message: str) -> None:
    """One line on stderr that starts with ``warning:``."""
    console.print(f"warning: {message}", style="yellow")


def print_wide(content: RenderableType, width: int) -> None:
    """Print to stdout, ``width`` characters wide where stdout is no terminal and has no width itself."""
    wide_console(width).print(content)


def progress_bar(*columns: str) -> Progress:
    """A bar with count and time left; ``columns`` are further texts such as ``{task.fields[x]}``."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        *(TextColumn(column, markup=False) for column in columns),
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


def wide_console(width: int = 160) -> Console:
    """A console on stdout; ``width`` is its width in characters where stdout is no terminal."""
    out = _SafeConsole(**_PLAIN)
    if not out.is_terminal:
        out.width = width
    return out
