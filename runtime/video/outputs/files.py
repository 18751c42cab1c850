"""All files that one run writes: each is moved into place complete up to its last frame."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from dccnet.runtime.errors import DccError, UsageError
from dccnet.runtime.files import atomic_path
from dccnet.runtime.locks import LOCK_FILE, output_lock
from dccnet.runtime.palettes import Palette
from dccnet.runtime.video.outputs.arrays import ArrayFile
from dccnet.runtime.video.outputs.h5 import H5Matches
from dccnet.runtime.video.outputs.lines import CsvLines, JsonLines
from dccnet.runtime.video.outputs.sequences import FileSequence, MaskFolder, is_sequence
from dccnet.runtime.video.outputs.sink import OutputFrame, Sink
from dccnet.runtime.video.writer import CODECS, VideoWriter

SUFFIXES = (*CODECS, ".jsonl", ".csv", ".npz", ".h5")
"""Suffixes of files that contain all frames."""

_BY_SUFFIX: dict[str, Callable[[Path], Sink]] = {
    ".jsonl": JsonLines,
    ".csv": CsvLines,
    ".npz": ArrayFile,
}

DISK_MARGIN = 8 << 20
"""Bytes that must stay free, in addition to a few frames and the bytes that closing the files writes."""


class Outputs:
    """The files of one run, opened under temporary names. Use it as a context manager.

    At the end of the block, also after an error, every file is closed and moved into place. If no frame was
    written, nothing is left behind.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        masks: Path | None = None,
        *,
        rate: float = 25.0,
        codec: str | None = None,
        in_time: bool = False,
        palette: Palette | None = None,
    ) -> None:
        """``masks`` is a folder for carried masks, which get the ``palette``. ``rate`` (frames per second),
        ``codec`` and ``in_time`` are for videos; ``in_time`` repeats frames where dropped ones would make
        the video too fast.

        Raises :class:`UsageError` for a path of unknown format and :class:`DccError` for one that cannot be
        written.
        """
        self.paths: list[Path] = []
        self.needs_drawing = False
        self._files: list[_File] = []
        self.frames = 0
        """Frames written so far."""
        try:
            for path in paths:
                self._open(path, partial(VideoFile, rate=rate, codec=codec, in_time=in_time))
            if masks is not None:
                self._add(_File(MaskFolder(masks, palette), masks, masks, _locked(masks)))
        except BaseException:
            self._end(keep=False)
            raise

    def __enter__(self) -> Outputs:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        failure = self._end(keep=self.frames > 0)
        if failure is not None and kind is None:
            raise failure

    def write(self, frame: OutputFrame) -> None:
        """Raises :class:`DccError` where the disk is full or a file cannot be written."""
        self._check_disk(frame)
        for file in self._files:
            try:
                file.sink.write(frame)
            except OSError as error:
                raise DccError(f"cannot write {file.path}: {error.strerror or error}") from error
        self.frames += 1

    def _open(self, path: Path, video_file: Callable[[Path], Sink]) -> None:
        suffix = path.suffix.lower()
        if is_sequence(path):
            sequence = FileSequence(path)
            self.needs_drawing |= sequence.needs_drawing
            lock = _locked(path.parent, path, f".{path.name}{LOCK_FILE}")
            self._add(_File(sequence, path, path.parent, lock))
            return
        if suffix not in SUFFIXES:
            raise UsageError(unknown_suffix(path))
        with contextlib.ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(path))
            if suffix in CODECS:
                sink = video_file(temporary)
                self.needs_drawing = True
            elif suffix == ".h5":
                features = path.with_name(f"{path.stem}-features.h5")
                sink = H5Matches(temporary, stack.enter_context(atomic_path(features)))
                self.paths.append(features)
            else:
                sink = _BY_SUFFIX[suffix](temporary)
            self._add(_File(sink, path, path.parent, stack.pop_all()))

    def _add(self, file: _File) -> None:
        self._files.append(file)
        self.paths.append(file.path)

    def _check_disk(self, frame: OutputFrame) -> None:
        """Stop before the disk is full: a video or an archive without its end cannot be read."""
        frame_bytes = 4 * int(np.asarray(frame.result.image).nbytes)
        needed = DISK_MARGIN + frame_bytes + sum(file.sink.reserve for file in self._files)
        for folder in {file.folder for file in self._files}:
            existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
            free = shutil.disk_usage(existing).free
            if free < needed:
                raise DccError(
                    f"the disk of {folder} is almost full ({free >> 20} MB left): what was written so far "
                    "is complete; make room and run again"
                )

    def _end(self, keep: bool) -> DccError | None:
        """Close every file and move it into place, or remove it. Returns the first failure."""
        first: DccError | None = None
        for file in self._files:
            try:
                file.end(keep)
            except DccError as error:
                first = first or error
        self._files = []
        return first


def _locked(folder: Path, output: Path | None = None, name: str = LOCK_FILE) -> contextlib.ExitStack:
    """Holds the lock of a folder or a sequence: frames of two runs would be mixed."""
    stack = contextlib.ExitStack()
    stack.enter_context(output_lock(folder, output, name))
    return stack


@dataclass(frozen=True, slots=True)
class _File:
    sink: Sink
    path: Path
    folder: Path
    move_into_place: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    """Moves the temporary files, or gives a lock back, when it is closed."""

    def end(self, keep: bool) -> None:
        """Raises :class:`DccError` where the file cannot be finished."""
        failure: OSError | DccError | None = None
        try:
            self.sink.close()
        except (OSError, DccError) as error:
            failure = error
            keep = keep and not isinstance(self.sink, ArrayFile)  # an incomplete archive cannot be read
        if keep:
            self.move_into_place.close()
        else:
            with contextlib.suppress(DccError):
                self.move_into_place.__exit__(DccError, DccError("not kept"), None)
        if failure is not None:
            reason = getattr(failure, "strerror", None) or failure
            raise DccError(f"cannot finish {self.path}: {reason}") from failure


class VideoFile:
    """Drawings as a video file."""

    def __init__(self, path: Path, rate: float, codec: str | None, in_time: bool) -> None:
        self._writer = VideoWriter(path, rate, codec)
        self._rate = rate if in_time else 0.0
        self._frames = 0

    @property
    def reserve(self) -> int:
        return (1 << 20) + 64 * self._frames  # the index at the end of the file

    def write(self, frame: OutputFrame) -> None:
        if frame.drawing is None:
            return
        until = max(round(frame.result.time_s * self._rate), self._frames) + 1
        for _ in range(self._frames, until):
            self._writer.write(frame.drawing)
        self._frames = until

    def close(self) -> None:
        self._writer.close()


def unknown_suffix(path: Path) -> str:
    """The message for a path of unknown format."""
    return (
        f"cannot write a video's results as '{path.name}': use a name that ends in {', '.join(CODECS)} or "
        f"{', '.join(SUFFIXES[len(CODECS) :])}, or one with %06d for a file each frame"
    )
