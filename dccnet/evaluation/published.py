"""Published results to compare with (spec §4), in percent of correct keypoints or pixels."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a published table."""

    method: str
    scores: dict[float, float]
    """α -> the overall score."""
    classes: dict[str, float]
    """Score of each class at the first α; empty if the paper does not have them."""


# class: (NC-Net, DCCNet)
_BY_CLASS = {
    "aeroplane": (86.8, 87.3),
    "bicycle": (86.7, 88.6),
    "bird": (86.7, 82.0),
    "boat": (55.6, 66.7),
    "bottle": (82.8, 84.4),
    "bus": (88.6, 89.6),
    "car": (93.8, 94.0),
    "cat": (87.1, 90.5),
    "chair": (54.3, 64.4),
    "cow": (87.5, 91.7),
    "diningtable": (43.2, 51.6),
    "dog": (82.0, 84.2),
    "horse": (64.1, 74.3),
    "motorbike": (79.2, 83.5),
    "person": (71.1, 72.5),
    "pottedplant": (71.0, 72.9),
    "sheep": (60.0, 60.0),
    "sofa": (54.2, 68.3),
    "train": (75.0, 81.8),
    "tvmonitor": (82.8, 81.1),
}
PF_PASCAL_CLASSES = tuple(_BY_CLASS)
"""Class names in the order of their numbers in the lists, which start at 1."""


def _pascal(method: str, score: float, column: int | None = None) -> Row:
    classes = {} if column is None else {name: scores[column] for name, scores in _BY_CLASS.items()}
    return Row(method, {0.1: score}, classes)


def _willow(method: str, *scores: float) -> Row:
    return Row(method, dict(zip((0.05, 0.1, 0.15), scores, strict=True)), {})


def _tss(method: str, fg3d: float, jods: float, pascal: float, mean: float) -> Row:
    return Row(method, {0.05: mean}, {"FG3DCAR": fg3d, "JODS": jods, "PASCAL": pascal})


PUBLISHED: dict[str, tuple[Row, ...]] = {
    "pf-pascal": (
        _pascal("HOG+PF-LOM", 62.5),
        _pascal("UCN", 55.6),
        _pascal("SCNet-A", 66.3),
        _pascal("SCNet-AG", 69.7),
        _pascal("SCNet-AG+", 72.2),
        _pascal("CNNGeo (VGG)", 62.6),
        _pascal("CNNGeo(S)", 71.9),
        _pascal("CNNGeo(W)/WeakAlign", 75.8),
        _pascal("RTN", 75.9),
        _pascal("NC-Net", 78.9, 0),
        _pascal("DCCNet", 82.3, 1),
    ),
    "pf-willow": (
        _willow("SCNet", 38.6, 70.4, 85.3),
        _willow("WeakAlign", 38.2, 71.2, 85.8),
        _willow("RTN", 41.3, 71.9, 86.2),
        _willow("NC-Net", 44.0, 72.7, 85.4),
        _willow("DCCNet", 43.6, 73.8, 86.5),
    ),
    "tss": (
        _tss("WeakAlign", 90.3, 76.4, 56.5, 74.4),
        _tss("RTN", 90.1, 78.2, 63.3, 77.2),
        _tss("NC-Net", 94.5, 81.4, 57.1, 77.7),
        _tss("DCCNet", 93.5, 82.6, 57.6, 77.9),
    ),
}

ABLATIONS: dict[tuple[str, int | None], float] = {
    ("NC-Net", None): 78.9,
    ("Baseline+S", 11): 78.9,
    ("Baseline+S", 25): 80.9,
    ("Baseline+S", 31): 77.1,
    ("Baseline+SCA", 25): 79.9,
    ("Baseline+SAA", 25): 80.2,
    ("Baseline+SD", 25): 81.0,
    ("Baseline+SDA", 25): 82.3,
    ("Baseline+SDA", 31): 80.7,
}
"""Tables 4 and 5: (method, context kernel) -> PCK@0.1 on PF-PASCAL's test split."""
