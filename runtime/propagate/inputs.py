"""References as the command line names them: files of annotations, or pictures with points or a mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dccnet.runtime.annotations.files import READ_SUFFIXES, read_annotations
from dccnet.runtime.annotations.frame_names import frame_name
from dccnet.runtime.annotations.model import OBJECT, SEEN, AnnotationSet, Category, Instance, Picture
from dccnet.runtime.annotations.run_lengths import RunLengths
from dccnet.runtime.arrays import Boxes, Mask, Points
from dccnet.runtime.checks import check_boxes_inside
from dccnet.runtime.errors import DataError, UsageError
from dccnet.runtime.images import is_picture, read_image
from dccnet.runtime.palettes import Palette
from dccnet.runtime.propagate.references import Reference, find_references, read_frame, united
from dccnet.runtime.propagate.run import changed_from
from dccnet.runtime.video.annotations import parse_boxes, parse_points
from dccnet.runtime.video.mask_files import read_mask
from dccnet.runtime.video.points_files import is_points_file, read_points
from dccnet.runtime.video.references import frame_number


@dataclass(frozen=True, slots=True)
class Drawn:
    """What is annotated in a reference that is a picture itself."""

    points: str | None = None
    mask: Path | None = None
    boxes: tuple[str, ...] = ()
    category: str = OBJECT

    @property
    def given(self) -> bool:
        return self.points is not None or self.mask is not None or bool(self.boxes)


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """All references."""

    references: list[Reference]
    categories: tuple[Category, ...]
    roots: tuple[Path, ...]
    """Folders that the names in files of annotations are relative to."""
    hints: dict[str, str]
    palette: Palette | None


def read_inputs(
    names: Sequence[str],
    target: str,
    drawn: Drawn,
    places: Sequence[Path],
    chosen: Sequence[str],
    corrections: Sequence[tuple[Path, Path]] = (),
) -> Inputs:
    """Read all references. ``places`` are folders of pictures, ``chosen`` globs of names.
    ``corrections`` are files that a person edited, each with the one that dcc wrote: their pictures are
    references where they differ.

    Raises :class:`DccError`.
    """
    around = [Path(target) if Path(target).is_dir() else Path(target).parent]
    sets: list[AnnotationSet] = []
    references: list[Reference] = []
    roots: list[Path] = []
    hints: dict[str, str] = {}
    palette: Palette | None = None
    annotated: dict[tuple[Path, int | None], str] = {}
    for name in names:
        path = Path(name)
        if frame_number(name) is not None or is_picture(path):
            if len(names) > 1 and drawn.given:
                raise UsageError("--points, --mask and --box go with one reference, which is a picture")
            reference, category = _drawn_reference(name, target, drawn)
            sets.append(AnnotationSet(category, (reference.picture,)))
            references.append(reference)
            palette = reference.palette
            continue
        if path.suffix.lower() not in READ_SUFFIXES:
            raise UsageError(
                f"the reference {name} is neither a picture nor one of {', '.join(READ_SUFFIXES)}"
            )
        annotations = read_annotations(path)
        found, root = find_references(annotations, places, around, chosen, path)
        _refuse_twice(found, name, annotated)
        sets.append(annotations)
        references += found
        roots.append(root)
        hints |= annotations.hints
    if drawn.given and roots:
        raise UsageError("--points, --mask and --box go with a reference that is a picture")
    for edited, known in corrections:
        annotations = changed_from(read_annotations(edited), read_annotations(known))
        if not any(picture.annotated for picture in annotations.pictures):
            raise UsageError(f"{edited} does not differ from {known}: there are no corrections in it")
        found, _ = find_references(annotations, places, around, (), edited)
        sets.append(annotations)
        references += found
    references, categories = united(references, sets)
    return Inputs(_once(references), categories, tuple(roots), hints, palette)


def _refuse_twice(
    references: list[Reference], source: str, annotated: dict[tuple[Path, int | None], str]
) -> None:
    """Add the references of a file to ``annotated``, which has the file that annotates each picture.

    Raises :class:`UsageError` for a picture that is there already: either could be the right one.
    """
    for one in references:
        before = annotated.setdefault(_identity(one), source)
        if before != source:
            raise UsageError(
                f"{one.name} is annotated in {before} and in {source}: remove it from one of them, or name "
                "the one that you corrected with --corrections"
            )


def _once(references: list[Reference]) -> list[Reference]:
    """Of two annotations of one picture, the later one: it is the corrected one."""
    return list({_identity(one): one for one in references}.values())


def _identity(reference: Reference) -> tuple[Path, int | None]:
    """What two annotations of one picture have in common."""
    return reference.path.resolve(), reference.frame


def _drawn_reference(name: str, target: str, drawn: Drawn) -> tuple[Reference, tuple[Category, ...]]:
    if not drawn.given:
        raise UsageError(f"{name} is a picture: say what is in it with --points, --mask or --box")
    number = frame_number(name)
    path = Path(target) if number is not None else Path(name)
    if number is not None and (path.is_dir() or is_picture(path)):
        raise UsageError(f"{name} is a frame of a video, and {target} is none: name the picture")
    image = read_image(path) if number is None else read_frame(path, number)
    size = image.shape[0], image.shape[1]
    points, labels = _points(drawn.points, name)
    names = labels or tuple(str(at + 1) for at in range(len(points)))
    if len(set(names)) < len(names):
        raise DataError(f"{drawn.points} has two points of one label")
    boxes = parse_boxes(drawn.boxes) if drawn.boxes else np.empty((0, 4))
    check_boxes_inside(boxes, size, name)
    masks, palette = ({}, None) if drawn.mask is None else _masks(drawn.mask)
    category = Category(drawn.category, names)
    picture = Picture(
        path.name if number is None else frame_name(path.name, number),
        size,
        tuple(_instances(points, boxes, masks, category.name)),
        frame=number,
    )
    return Reference(picture, path, number, palette), (category,)


def _points(text: str | None, picture: str) -> tuple[Points, tuple[str, ...]]:
    if text is None:
        return np.empty((0, 2)), ()
    if is_points_file(text):
        return read_points(Path(text), picture)
    return parse_points(text), ()


def _instances(points: Points, boxes: Boxes, masks: dict[int, RunLengths], category: str) -> list[Instance]:
    """The points with the first box and the first mask; each further box, and each further label of the
    mask, is an instance of its own."""
    count = max(len(boxes), len(masks), 1)
    labels = [*masks, *(0 for _ in range(count - len(masks)))]
    instances = []
    for at in range(count):
        own = points if at == 0 else np.full(points.shape, np.nan)
        visibility = np.full(len(points), SEEN if at == 0 else 0, np.uint8)
        box = boxes[at] if at < len(boxes) else None
        label = labels[at] or at + 1
        instances.append(Instance(category, own, visibility, box, masks.get(labels[at]), label=label))
    return instances


def _masks(path: Path) -> tuple[dict[int, RunLengths], Palette]:
    """Each label of a mask as PNG, and its palette; colours are labels in the order of their brightness.

    Raises :class:`UsageError` for a mask without labels, and of more colours than a palette has.
    """
    mask, palette = read_mask(path)
    if mask.ndim == 3:
        mask, palette = _indexed(mask, path)
    elif palette is None:
        palette = _greys()
    labels = [int(label) for label in np.unique(mask) if label]
    if not labels:
        raise UsageError(f"the mask {path} is 0 everywhere: nothing is masked")
    return {label: RunLengths.of(mask == label) for label in labels}, palette


def _indexed(mask: Mask, path: Path) -> tuple[Mask, Palette]:
    colours, numbers = np.unique(mask.reshape(-1, 3), axis=0, return_inverse=True)
    if len(colours) > 256:
        raise UsageError(
            f"the mask {path} has {len(colours)} colours: a mask has one for each label, at most 256"
        )
    order = np.argsort(colours.sum(axis=1), kind="stable")
    place = np.empty(len(order), np.uint8)
    place[order] = np.arange(len(order))
    table = colours[order][:, ::-1]  # BGR -> RGB
    content = np.zeros((256, 3), np.uint8)
    content[: len(table)] = table
    if content[0].any() and len(table) < 256:  # label 0 is the background, which has no colour here
        place += 1
        content = np.concatenate([np.zeros((1, 3), np.uint8), content[:-1]])
    return place[numbers.reshape(mask.shape[:2])], ((b"PLTE", content.tobytes()),)


def _greys() -> Palette:
    levels = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    return ((b"PLTE", levels.tobytes()),)
