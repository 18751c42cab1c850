"""Published results to compare with: Tables 1 to 5 of the DCCNet paper, in percent.

Methods have the names that the paper prints, but "Our Method" is DCCNet. "ResNet-101+CNNGeo(W)" is
WeakAlign. Where a name has no backbone in front: RTN, NC-Net and DCCNet use ResNet-101.
"""

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


PF_PASCAL_CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""Class names in the order of their numbers in the lists, which start at 1."""
TSS_GROUPS = ("FG3DCAR", "JODS", "PASCAL")

# Tables 1 to 3 as printed. Table 1: α = 0.1, the score of each class, then of all pairs.
_PF_PASCAL = """
HOG+PF-LOM
    73.3 74.4 54.4 50.9 49.6 73.8 72.9 63.6 46.1 79.8 42.5 48.0 68.3 66.3 42.1 62.1 65.2 57.1 64.4 58.0 62.5
UCN
    64.8 58.7 42.8 59.6 47.0 42.2 61.0 45.6 49.9 52.0 48.5 49.5 53.2 72.7 53.0 41.4 83.3 49.0 73.0 66.0 55.6
VGG-16+SCNet-A
    67.6 72.9 69.3 59.7 74.5 72.7 73.2 59.5 51.4 78.2 39.4 50.1 67.0 62.1 69.3 68.5 78.2 63.3 57.7 59.8 66.3
VGG-16+SCNet-AG
    83.9 81.4 70.6 62.5 60.6 81.3 81.2 59.5 53.1 81.2 62.0 58.7 65.5 73.3 51.2 58.3 60.0 69.3 61.5 80.0 69.7
VGG-16+SCNet-AG+
    85.5 84.4 66.3 70.8 57.4 82.7 82.3 71.6 54.3 95.8 55.2 59.5 68.6 75.0 56.3 60.4 60.0 73.7 66.5 76.7 72.2
VGG-16+CNNGeo
    79.5 80.9 69.9 61.1 57.8 77.1 84.4 55.5 48.1 83.3 37.0 54.1 58.2 70.7 51.4 41.4 60.0 44.3 55.3 30.0 62.6
ResNet-101+CNNGeo(S)
    82.4 80.9 85.9 47.2 57.8 83.1 92.8 86.9 43.8 91.7 28.1 76.4 70.2 76.6 68.9 65.7 80.0 50.1 46.3 60.6 71.9
ResNet-101+CNNGeo(W)
    83.7 88.0 83.4 58.3 68.8 90.3 92.3 83.7 47.4 91.7 28.1 76.3 77.0 76.0 71.4 76.2 80.0 59.5 62.3 63.9 75.8
RTN 75.9
NC-Net
    86.8 86.7 86.7 55.6 82.8 88.6 93.8 87.1 54.3 87.5 43.2 82.0 64.1 79.2 71.1 71.0 60.0 54.2 75.0 82.8 78.9
DCCNet
    87.3 88.6 82.0 66.7 84.4 89.6 94.0 90.5 64.4 91.7 51.6 84.2 74.3 83.5 72.5 72.9 60.0 68.3 81.8 81.1 82.3
"""
# Table 2: α = 0.05, 0.1, 0.15.
_PF_WILLOW = """
HOG+PF-LOM 28.4 56.8 68.2
DCTM 38.1 61.0 72.1
UCN-ST 24.1 54.0 66.5
CAT-FCSS 36.2 54.6 69.2
SCNet 38.6 70.4 85.3
ResNet-101+CNNGeo 36.9 69.2 77.8
ResNet-101+CNNGeo(W) 38.2 71.2 85.8
RTN 41.3 71.9 86.2
NC-Net 44.0 72.7 85.4
DCCNet 43.6 73.8 86.5
"""
# Table 3: α = 0.05, the groups in the order of TSS_GROUPS, then their mean.
_TSS = """
HOG+PF-LOM 78.6 65.3 53.1 65.7
HOG+TSS 83.0 59.5 48.3 63.6
FCSS+SIFT_Flow 83.0 65.6 49.4 66.0
FCSS+PF-LOM 83.9 63.5 58.2 68.5
HOG+OADSC 87.5 70.8 72.9 77.1
FCSS+DCTM 89.1 72.1 61.0 74.0
VGG-16+CNNGeo 83.9 65.8 52.8 67.5
ResNet-101+CNNGeo(S) 83.9 76.4 56.3 74.3
ResNet-101+CNNGeo(W) 90.3 76.4 56.5 74.4
RTN 90.1 78.2 63.3 77.2
NC-Net 94.5 81.4 57.1 77.7
DCCNet 93.5 82.6 57.6 77.9
"""


def _read(table: str) -> list[tuple[str, list[float]]]:
    """Methods and their numbers; an indented line continues the one before."""
    lines = table.strip().replace("\n ", " ").splitlines()
    return [(name.replace("_", " "), [float(v) for v in values]) for name, *values in map(str.split, lines)]


def _by_class(table: str, alpha: float, names: tuple[str, ...]) -> tuple[Row, ...]:
    return tuple(
        Row(method, {alpha: overall}, dict(zip(names, classes, strict=True)) if classes else {})
        for method, (*classes, overall) in _read(table)
    )


PUBLISHED: dict[str, tuple[Row, ...]] = {
    "pf-pascal": _by_class(_PF_PASCAL, 0.1, PF_PASCAL_CLASSES),
    "pf-willow": tuple(
        Row(method, dict(zip((0.05, 0.1, 0.15), scores, strict=True)), {})
        for method, scores in _read(_PF_WILLOW)
    ),
    "tss": _by_class(_TSS, 0.05, TSS_GROUPS),
}
"""The rows of Tables 1 to 3, by benchmark."""

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
