"""An annotator with the built-in model, and views of one photograph that it annotates."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from dccnet.runtime.annotations.run_lengths import RunLengths
from dccnet.runtime.arrays import Image
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.propagate.annotator import Annotator
from tests.helpers.shifted_views import POINTS, view


@pytest.fixture(scope="session")
def matcher() -> Matcher:
    return Matcher.open(threads=1)


@pytest.fixture(scope="session")
def annotated(photos: list[Image], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COCO file with points, a box and a mask of a view without a shift, which is beside it."""
    folder = tmp_path_factory.mktemp("annotated")
    cv2.imwrite(str(folder / "cat.png"), view(photos[0], 0, 0))
    mask = np.zeros((128, 160), bool)
    mask[30:90, 40:120] = True
    annotation = {
        "image_id": 1,
        "category_id": 1,
        "keypoints": [value for x, y in POINTS.values() for value in (x, y, 2)],
        "bbox": [40, 30, 80, 60],
        "segmentation": {"size": [128, 160], "counts": list(RunLengths.of(mask).counts)},
    }
    content = {
        "images": [{"id": 1, "file_name": "cat.png", "width": 160, "height": 128}],
        "categories": [{"id": 1, "name": "cat", "keypoints": list(POINTS), "skeleton": [[1, 2]]}],
        "annotations": [annotation],
    }
    path = folder / "annotated.json"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="session")
def annotator(matcher: Matcher, annotated: Path) -> Annotator:
    return Annotator(matcher, [annotated])
