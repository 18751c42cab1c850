"""Settings of ``dcc calibrate``: one frozen object for each precision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from dccnet.calibration.groups import Level
    from dccnet.calibration.plan_file import PlanFile

Method = Literal["minmax", "entropy", "percentile", "mse"]
"""How ranges for INT8 are chosen: see :mod:`dccnet.calibration.int8.methods`."""
Target = Literal["tensorrt", "cpu"]
"""What INT8 graphs are laid out for: engines on GPUs, or ONNX Runtime on CPUs."""

HALF_BUDGET = 0.5
"""Default budget of half precision, in points of PCK or % of changed matches."""


@dataclass(frozen=True, slots=True)
class PictureSettings:
    """Frames to calibrate with, and pairs of pictures to measure the loss on."""

    data: str | None = None
    """Folder, glob, list or video; None only with ranges from a table or a plan."""
    frames: int = 64
    """Number of frames of ``data`` to calibrate with, at most."""
    check: str | None = None
    """Folder, glob, list or video to measure the loss on; None: frames of ``data`` that are left over or,
    without ``data``, the pictures that come with dcc."""
    pairs: int = 32
    """Number of pairs to measure the loss on, at most."""


@dataclass(frozen=True, slots=True)
class SearchSettings:
    """A search for the layers that can be changed within a budget."""

    budget: float
    """In points of PCK where there are keypoints, else in % of changed matches."""
    level: Level = "block"
    """Size of the groups of layers that the search decides on."""
    report: Path | None = None
    """Folder for ``plan.json`` and ``sensitivity.png``."""
    table_to_stderr: bool = False
    """For commands that print JSON to stdout."""


@dataclass(frozen=True, slots=True)
class Int8Settings:
    """How to calibrate a bundle to INT8.

    Without ``plan`` and ``search``, all layers are quantised.
    """

    pictures: PictureSettings
    method: Method = "mse"
    target: Target = "tensorrt"
    include: tuple[str, ...] = ()
    """Parts of the network to quantise in addition to the backbone (and to the parts in ``plan``):
    ``context``, ``consensus``."""
    depthwise: bool = True
    """Whether to quantise depthwise convolutions."""
    table: Path | None = None
    """Calibration table to use instead of measuring ranges on frames."""
    plan: PlanFile | None = None
    """The layers to quantise. Without ``data`` and ``table``, its ranges are used as well."""
    search: SearchSettings | None = None


@dataclass(frozen=True, slots=True)
class HalfSettings:
    """How to calibrate a float32 bundle to half precision: with the steps of ``plan``, or by ``search``."""

    pictures: PictureSettings
    plan: PlanFile | None = None
    search: SearchSettings | None = None
