"""Carry annotations to all targets, with a journal by which an interrupted run continues."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dccnet.runtime.annotations.model import AnnotationSet, Category, Picture
from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import DccError, UsageError
from dccnet.runtime.journal import Journal
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.propagate.carrying import (
    TEMPORAL,
    Carrying,
    Semantic,
    State,
    Temporal,
    annotated_by_hand,
)
from dccnet.runtime.propagate.records import picture_of, picture_values
from dccnet.runtime.propagate.references import EncodedReferences, Reference
from dccnet.runtime.propagate.targets import Read, Target, Targets, read_targets
from dccnet.runtime.video.propagation.settings import Propagation


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """What to carry to what."""

    references: Sequence[Reference]
    categories: tuple[Category, ...]
    targets: Targets
    mode: str
    """``semantic`` or ``temporal``."""
    settings: Propagation
    most: int
    """How many references vote on one picture: the most similar ones."""

    def identity(self, model: str) -> dict[str, Any]:
        """The values that must be equal for a run to be continued; ``model`` stands for the bundle."""
        listed = [
            [picture_values(one.picture), str(one.path.resolve()), _stamp(one.path)]
            for one in self.references
        ]
        digest = hashlib.sha256(json.dumps(listed, sort_keys=True).encode()).hexdigest()
        return {
            "schema": 1,
            "references_sha256": digest,
            "model_sha256": model,
            "target": str(self.targets.video or self.targets.root),
            "mode": self.mode,
            "min_confidence": self.settings.min_confidence,
            "most": self.most,
        }


@dataclass(frozen=True, slots=True, eq=False)
class Done:
    """A line of the journal."""

    picture: Picture
    state: State | None
    stamp: tuple[int, int]
    """Size and time of the picture's file, by which one that has changed is noticed."""


def open_journal(
    folder: Path, job: Job, model: str, restart: bool, on_no_locks: Callable[[str], None]
) -> Journal[Done]:
    return Journal(
        folder,
        job.identity(model),
        _done_of,
        what="run",
        output="file",
        restart=restart,
        on_no_locks=on_no_locks,
    )


def _done_of(values: dict[str, Any], where: str) -> tuple[str, Done]:
    picture = picture_of(values["picture"])
    stamp = int(values["stamp"][0]), int(values["stamp"][1])
    return picture.name, Done(picture, values["state"], stamp)


def propagate(
    job: Job,
    matcher: Matcher,
    journal: Journal[Done] | None = None,
    on_note: Callable[[str], None] = lambda text: None,
    workers: int = 1,
) -> Iterator[tuple[Picture, Image | None]]:
    """Every target with its annotations, in order, and its image unless it was done before.

    A picture that cannot be read has a ``problem``, and the others follow. Pictures in the journal are not
    matched again, unless their file has changed. Of pictures that do not depend on each other, ``workers``
    are matched at once. Raises :class:`DccError` where the references cannot be read, or the video not
    opened.
    """
    encoded = EncodedReferences(matcher, job.references, job.most)
    if not encoded.compared:
        on_note(
            f"features on a GPU are not compared: the first {job.most} of {len(job.references)} references "
            "vote on every picture (--backend onnxruntime chooses the most similar ones)"
        )
    semantic = Semantic(matcher, encoded, job.settings)
    carrying: Carrying = semantic
    if job.mode == TEMPORAL:
        carrying, workers = Temporal(semantic, job.settings, matcher.manifest.grid), 1
    by_hand = {(one.path.resolve(), one.frame): one.picture for one in job.references}

    def known(target: Target) -> Done | None:
        found = None if journal is None else journal.entries.get(target.name)
        return None if found is None or found.stamp != _stamp(target.path) else found

    def work(item: Read) -> _Result:
        target, image = item
        if isinstance(image, DccError):
            return _Result(Picture(target.name, problem=str(image), frame=target.frame), None, None)
        before = known(target)
        if before is not None:
            carrying.keep(target, image, before.picture, before.state)
            return _Result(before.picture, image, None)
        assert image is not None
        stamp = _stamp(target.path)
        own = by_hand.get((target.path.resolve(), target.frame))
        if own is None:
            picture, state = carrying.carry(target, image)
        else:
            picture, state = annotated_by_hand(target, image, own), None
            carrying.keep(target, image, picture, None)
        return _Result(picture, image, Done(picture, state, stamp))

    def wanted(target: Target) -> bool:
        return job.mode == TEMPORAL or known(target) is None

    with read_targets(job.targets, wanted, on_note) as items:
        for result in _in_order(work, items, workers):
            if journal is not None and result.new is not None:
                new = result.new
                values = {"picture": picture_values(new.picture), "state": new.state, "stamp": new.stamp}
                journal.add(new.picture.name, new, values)
            yield result.picture, result.image


class _Result(NamedTuple):
    picture: Picture
    image: Image | None
    new: Done | None
    """For the journal."""


def _in_order(work: Callable[[Read], _Result], items: Iterator[Read], workers: int) -> Iterator[_Result]:
    """The results of all items, in order, of which a few more than ``workers`` are begun."""
    if workers == 1:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(workers, "dcc-carry")
    begun: deque[Future[_Result]] = deque()
    try:
        for item in items:
            begun.append(pool.submit(work, item))
            if len(begun) > workers:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def result_of(
    job: Job, pictures: Sequence[Picture] | Iterator[Picture], hints: dict[str, str]
) -> AnnotationSet:
    """The annotations of all targets, for a file."""
    return AnnotationSet(job.categories, pictures, job.targets.root, hints)


def changed_from(annotations: AnnotationSet, before: AnnotationSet) -> AnnotationSet:
    """The pictures whose annotations a person changed since ``before`` was written: by a point that moved
    by more than half a pixel, came or went, by another box, mask or number of instances.

    Raises :class:`UsageError` where the two have no picture in common.
    """
    known = {picture.name: picture for picture in before.pictures}
    if known and not any(picture.name in known for picture in annotations.pictures):
        raise UsageError(
            "no picture has the same name in both files of a correction: the first is "
            f"{_first(annotations)} in the edited one and {_first(before)} in the written one"
        )
    kept = [
        picture
        for picture in annotations.pictures
        if picture.name not in known or not _same(picture, annotations, known[picture.name], before)
    ]
    plain = tuple(
        dataclasses.replace(
            picture,
            instances=tuple(
                dataclasses.replace(one, confidence=None, score=None) for one in picture.instances
            ),
        )
        for picture in kept
    )
    return dataclasses.replace(annotations, pictures=plain)


def _first(annotations: AnnotationSet) -> str:
    return next((picture.name for picture in annotations.pictures), "none")


def _same(a: Picture, of_a: AnnotationSet, b: Picture, of_b: AnnotationSet) -> bool:
    if len(a.instances) != len(b.instances):
        return False
    for one, other in zip(a.instances, b.instances, strict=True):
        first, second = _named(of_a, one), _named(of_b, other)
        if one.category != other.category or first.keys() != second.keys():
            return False
        if any(abs(first[name] - second[name]).max() > 0.5 for name in first):
            return False
        boxes = one.box, other.box
        if other.box is None and one.box is not None:  # COCO wants a box, so that tools keep the extent
            boxes = one.box, other.extent()
        if (boxes[0] is None) != (boxes[1] is None) or one.mask != other.mask:
            return False
        if boxes[0] is not None and boxes[1] is not None and abs(boxes[0] - boxes[1]).max() > 0.5:
            return False
    return True


def _named(annotations: AnnotationSet, instance: Any) -> dict[str, Any]:
    names = annotations.category(instance.category).points
    return {names[row]: instance.points[row] for row in range(len(names)) if instance.annotated[row]}
