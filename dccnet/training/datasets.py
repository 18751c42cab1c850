"""Training and validation pairs of a run, and the pictures that are left out of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from dccnet.evaluation.pairs import Pair, read_pairs
from dccnet.network.config import ModelConfig
from dccnet.runtime.console import progress_bar
from dccnet.runtime.errors import DataError, DccError
from dccnet.runtime.images import find_images, read_image
from dccnet.runtime.messages import warn
from dccnet.runtime.remap import check_remap
from dccnet.training.processes import Processes
from dccnet.training.settings import TrainSettings
from dccnet.training.synthetic import split_photographs, synthetic_pairs

VALIDATION_PAIRS = 100
"""Number of synthetic pairs for validation."""
ALONE = Processes()
_MOST_NAMED = 3


class Datasets(NamedTuple):
    """What a run trains and validates on."""

    training: list[Pair]
    validation: list[Pair]
    left_out: tuple[str, ...]
    """Pictures that could not be read when the run started, relative to the folder of the pictures."""


class _Problem(NamedTuple):
    file: Path
    reason: str


def datasets(
    config: ModelConfig,
    settings: TrainSettings,
    group: Processes = ALONE,
    left_out: Sequence[str] | None = None,
    *,
    tell: bool = True,
) -> Datasets:
    """The pairs that the settings name. Several processes divide the work of looking at the pictures.

    For a new run (``left_out`` is None) every picture is decoded, because one that cannot be read would
    end the training when its turn comes. ``skip_unreadable`` leaves out its pairs and, if ``tell``, warns.
    A run that is resumed needs the pairs that it began with: it leaves out the same, and only looks whether
    the others are there. Raises :class:`DataError` for lists, folders and pictures that cannot be used.
    """
    photographs = sorted(find_images(settings.synthetic)) if settings.synthetic is not None else []
    listed, validating = _read(settings.data, settings), _read(settings.validate, settings)
    files = list(dict.fromkeys([*photographs, *_files(listed), *_files(validating)]))
    problems = _refused(files, settings, group) if left_out is None else []
    omitted = (
        {problem.file for problem in problems}
        if left_out is None
        else _left_out_before(left_out, files, settings, group)
    )
    training, validation = _without(listed, omitted), _without(validating, omitted)
    if problems and group.first and tell:
        _tell(problems, len(listed) - len(training), len(validating) - len(validation))
    if settings.synthetic is not None:
        remaining = [path for path in photographs if path not in omitted]
        seen, held_out = split_photographs(remaining, settings.seed)
        if len(seen) < 2:
            raise DataError(f"{settings.synthetic} contains one photograph: negatives need at least two")
        training = synthetic_pairs(seen, settings.pairs, settings.seed, config.image_size)
        if settings.validate is None:
            validation = synthetic_pairs(held_out, VALIDATION_PAIRS, settings.seed + 1, config.image_size)
    if len(training) < 2:
        raise DataError("training needs at least two pairs: negatives are other pairs of the batch")
    if settings.validate is not None and not validation:
        raise DataError(f"no pair of {settings.validate} has two pictures that can be read")
    if any(pair.source_points is None for pair in validation):
        raise DataError(
            f"{settings.validate} has no keypoints to validate on: its columns must include XA,YA,XB,YB"
        )
    return Datasets(training, validation, tuple(sorted(_name(file, settings) for file in omitted)))


def _refused(files: Sequence[Path], settings: TrainSettings, group: Processes) -> list[_Problem]:
    """The pictures that a new run leaves out. Raises :class:`DataError` where it may not."""
    problems = _problems(files, _decoder(settings), settings.workers, group)
    if problems and not settings.skip_unreadable:
        advice = "restore them, or leave their pairs out with --skip-unreadable"
        raise _error(problems, len(files), advice, group)
    return problems


def _left_out_before(
    left_out: Sequence[str], files: Sequence[Path], settings: TrainSettings, group: Processes
) -> set[Path]:
    """Those of the files that the run has left out from its start. Raises :class:`DataError`."""
    names = {_name(file, settings): file for file in files}
    omitted = {names[name] for name in left_out if name in names}
    if len(omitted) < len(left_out):
        raise DataError(
            f"the run left out {len(left_out)} pictures, of which {len(left_out) - len(omitted)} are not "
            "in its lists or folder now: restore these, or start a new run"
        )
    others = [file for file in files if file not in omitted]
    missing = _problems(others, look, settings.workers, group)
    if missing:
        advice = "restore them, or name their new place with --root, --data or --synthetic"
        raise _error(missing, len(others), advice, group)
    return omitted


def _read(path: str | None, settings: TrainSettings) -> list[Pair]:
    if path is None:
        return []
    return read_pairs(path, settings.root, one_based=settings.one_based, must_exist=False)


def _files(pairs: Sequence[Pair]) -> list[Path]:
    return [picture.file for pair in pairs for picture in (pair.source, pair.target) if picture.file]


def _without(pairs: Sequence[Pair], omitted: set[Path]) -> list[Pair]:
    return [pair for pair in pairs if not {pair.source.file, pair.target.file} & omitted]


def _name(file: Path, settings: TrainSettings) -> str:
    """The picture's path from the folder of pictures, which stays true where that folder moves."""
    listed = settings.root or os.path.dirname(settings.data or "")  # noqa: PTH120 (a glob is no path)
    return Path(os.path.relpath(file, settings.synthetic or listed or ".")).as_posix()


def _decoder(settings: TrainSettings) -> Callable[[Path], None]:
    def decode(file: Path) -> None:
        image = read_image(file)
        if settings.synthetic is not None or settings.warps:
            check_remap(image.shape[:2])

    return decode


def look(file: Path) -> None:
    """Raise :class:`DccError` unless the file is there and can be opened."""
    try:
        with file.open("rb") as opened:
            if not opened.read(1):
                raise DataError(f"{file} is empty (0 bytes)")
    except FileNotFoundError:
        raise DataError(f"{file} does not exist") from None
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror or error}") from error


def _problems(
    files: Sequence[Path], check: Callable[[Path], None], workers: int, group: Processes
) -> list[_Problem]:
    """Which files do not pass the check; each process checks a share."""

    def problem(file: Path) -> _Problem | None:
        try:
            check(file)
        except DccError as error:
            return _Problem(file, str(error))
        return None

    with ThreadPoolExecutor(workers, thread_name_prefix="pictures") as pool, progress_bar() as bar:
        found = pool.map(problem, group.share(files))
        tracked = bar.track(found, total=len(group.share(files)), description="looking at the pictures")
        return group.collect([each for each in tracked if each is not None])


def _error(problems: Sequence[_Problem], total: int, advice: str, group: Processes) -> BaseException:
    """The error for the first process to raise; the others end without a word."""
    if not group.first:
        return SystemExit(DataError.exit_code)
    return DataError(f"{len(problems)} of {total} pictures cannot be used ({_named(problems)}): {advice}")


def _tell(problems: Sequence[_Problem], training: int, validation: int) -> None:
    pairs = f", with {training} training and {validation} validation pairs" if training + validation else ""
    count = f"{len(problems)} picture{'s' * (len(problems) > 1)}"
    warn(f"{count} that cannot be used left out{pairs} ({_named(problems)})")


def _named(problems: Sequence[_Problem]) -> str:
    more = [f"and {len(problems) - _MOST_NAMED} more"] if len(problems) > _MOST_NAMED else []
    return "; ".join([problem.reason for problem in problems[:_MOST_NAMED]] + more)
