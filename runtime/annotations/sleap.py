"""SLEAP's labels (.slp), read and written by its own library, ``sleap-io``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from dccnet.runtime.annotations.fields import AnnotationError
from dccnet.runtime.annotations.frame_names import frame_name, frame_of
from dccnet.runtime.annotations.model import (
    SEEN,
    AnnotationSet,
    Category,
    Instance,
    Picture,
    merged,
    no_points,
    there,
)
from dccnet.runtime.extras import required
from dccnet.runtime.files import native_path


def from_sleap(path: Path, root: Path) -> AnnotationSet:
    """The labels in a file; pictures in them need not be there.

    Raises ``ValueError`` (:class:`AnnotationError`), and :class:`DccError` without the extra ``annotate``.
    """
    with required("reading SLEAP's .slp", "annotate"):
        import sleap_io
    try:
        labels = sleap_io.load_slp(native_path(path), open_videos=False)
    except Exception as error:  # whatever h5py and sleap-io raise for a damaged file
        raise AnnotationError(f"sleap-io cannot read it ({type(error).__name__}: {error})") from error
    categories = {skeleton: _category(skeleton) for skeleton in labels.skeletons}
    pictures = []
    for frame in labels.labeled_frames:
        # A prediction from which a person made an instance is shown no longer, but still in the file.
        used = {id(one.from_predicted) for one in frame.instances}
        shown = [
            *frame.user_instances,
            *(one for one in frame.unused_predictions if id(one) not in used),
        ]
        found = tuple(_instance(one, categories[one.skeleton]) for one in shown)
        names = frame.video.filename
        number = int(frame.frame_idx)
        if isinstance(names, list):
            if number >= len(names):
                raise AnnotationError(f"it has labels of picture {number} of {len(names)}")
            pictures.append(Picture(_posix(names[number]), instances=found))
        else:
            pictures.append(Picture(frame_name(_posix(names), number), instances=found, frame=number))
    return AnnotationSet(merged(categories.values()), tuple(pictures), root)


def _posix(name: Any) -> str:
    return str(name).replace("\\", "/")


def _category(skeleton: Any) -> Category:
    return Category(
        skeleton.name or "object",
        tuple(skeleton.node_names),
        tuple((int(a), int(b)) for a, b in skeleton.edge_inds),
    )


def _instance(instance: Any, category: Category) -> Instance:
    points, visibility, confidence = no_points(len(category.points))
    places = np.asarray(instance.numpy(), np.float64)[:, :2]
    points[:], visibility[:] = places, np.where(there(places), SEEN, 0)
    if not hasattr(instance, "score"):
        return Instance(category.name, points, visibility)
    confidence[:] = instance.numpy(scores=True)[:, 2]
    return Instance(category.name, points, visibility, confidence=confidence, score=float(instance.score))


def write_sleap(annotations: AnnotationSet, path: Path, video: str | None) -> None:
    """Write labels: of frames of ``video``, or of pictures, of which those of one size are one video.

    What a person annotated is an instance, what was carried a predicted one. Raises :class:`DccError`
    without the extra ``annotate``.
    """
    with required("writing SLEAP's .slp", "annotate"):
        import sleap_io
    skeletons = {
        category.name: sleap_io.Skeleton(
            nodes=list(category.points),
            edges=[(category.points[a], category.points[b]) for a, b in category.edges],
            name=category.name,
        )
        for category in annotations.categories
        if category.points
    }
    whole = [one for one in annotations.pictures if not one.problem and one.size is not None]
    places = dict(_placed(whole, annotations.root, video, sleap_io))
    frames = []
    for picture in whole:
        source, number = places[picture.name]
        pointed = [one for one in picture.instances if one.category in skeletons and one.annotated.any()]
        instances = [_predicted(one, skeletons[one.category], sleap_io) for one in pointed]
        frames.append(sleap_io.LabeledFrame(video=source, frame_idx=number, instances=instances))
    videos = list({id(one): one for one, _ in places.values()}.values())
    labels = sleap_io.Labels(labeled_frames=frames, videos=videos, skeletons=list(skeletons.values()))
    sleap_io.save_slp(labels, native_path(path), embed=False, verbose=False)


def _placed(pictures: Iterable[Picture], root: Path, video: str | None, sleap_io: Any) -> Any:
    """For each picture's name, its video and its number there."""
    if video is not None:
        source = sleap_io.Video(filename=video, open_backend=False)
        for at, picture in enumerate(pictures):
            found = frame_of(picture.name)
            number = picture.frame if picture.frame is not None else found[1] if found else at
            yield picture.name, (source, number)
        return
    by_size: dict[Any, list[Picture]] = {}
    for picture in pictures:
        by_size.setdefault(picture.size, []).append(picture)
    for (height, width), group in by_size.items():
        names = [(root / one.name).as_posix() for one in group]
        known = {  # else sleap-io opens the first picture, which need not be there
            "type": "ImageVideo",
            "shape": (len(group), height, width, 3),
            "filename": names[0],
            "filenames": names,
            "height_": height,
            "width_": width,
            "channels_": 3,
            "grayscale": False,
        }
        source = sleap_io.Video(filename=names, open_backend=False, backend_metadata=known)
        for number, picture in enumerate(group):
            yield picture.name, (source, number)


def _predicted(instance: Instance, skeleton: Any, sleap_io: Any) -> Any:
    points = np.where(instance.annotated[:, None], instance.points, np.nan)
    if instance.score is None:
        return sleap_io.Instance.from_numpy(points, skeleton=skeleton)
    scores = np.ones(len(points)) if instance.confidence is None else instance.confidence
    return sleap_io.PredictedInstance.from_numpy(
        points, skeleton=skeleton, point_scores=np.asarray(scores), score=instance.score
    )
