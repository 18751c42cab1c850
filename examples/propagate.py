"""Carry the annotations of a few pictures to others, as `dcc propagate` does, one picture at a time.

python propagate.py ANNOTATED.json PICTURE...     ANNOTATED.json: COCO, beside its pictures
"""

import sys
from pathlib import Path

from dccnet import Matcher, read_image
from dccnet.runtime.annotations.files import write_annotations
from dccnet.runtime.propagate.annotator import Annotator


def main(annotated: str, *paths: str) -> None:
    with Matcher.open() as matcher:
        annotator = Annotator(matcher, [annotated], min_confidence=0.5)
        for path in map(Path, paths):
            picture = annotator.annotate(read_image(path), path.name)
            for instance in picture.instances:
                sure, every = int((instance.visibility > 0).sum()), len(instance.points)
                print(f"{path.name}: {instance.category}, {sure} of {every} points, {instance.score:.2f}")
            write_annotations(annotator.annotations(picture), path.with_suffix(".found.json"), "coco", {})


if __name__ == "__main__":
    main(*sys.argv[1:])
