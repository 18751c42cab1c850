"""From a network to a verified bundle."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dccnet.export.autotune import time_lowerings
from dccnet.export.bundles.folder import check_replaceable, tool_versions
from dccnet.export.graphs import EncoderGraph, MatcherGraph
from dccnet.export.onnx_file import write_onnx
from dccnet.export.verify import MAX_PAIRS, verify
from dccnet.network.backbone import BACKBONES
from dccnet.network.conv4d import LOWERINGS, STACK
from dccnet.network.model import DCCNet
from dccnet.runtime.arrays import Array
from dccnet.runtime.bundle import (
    ENCODER,
    MATCHER,
    Bundle,
    Conv4dChoice,
    Graph,
    Manifest,
    write_manifest,
)
from dccnet.runtime.errors import NotVerifiedError, UsageError
from dccnet.runtime.files import atomic_path
from dccnet.runtime.geometry import resize_uint8
from dccnet.runtime.images import read_image
from dccnet.runtime.onnx_runtime import OnnxRuntimeGraph

AUTO = "auto"
STEPS = 2 + MAX_PAIRS
AUTO_STEPS = len(LOWERINGS) + 1
"""More, where the lowering is chosen by timing."""


def export_bundle(
    model: DCCNet,
    path: str | os.PathLike[str],
    pictures: Sequence[Path],
    *,
    heatmaps: bool = False,
    maps: bool = False,
    conv4d: str = "stack",
    half: bool = False,
    on_step: Callable[[str], None] = lambda description: None,
) -> Bundle:
    """Write the bundle, run it on ``pictures`` against PyTorch, and record the outcome in it.

    ``heatmaps`` and ``maps`` are those of :class:`MatcherGraph`; ``maps`` needs a network of
    two branches, or raises :class:`UsageError`.
    ``conv4d`` is a name of :data:`LOWERINGS`, or ``auto`` to time them all in ONNX Runtime
    on this machine and keep the fastest. ``half`` exports in float16 with float32 islands
    (``network/precision.py``) and measures ranges, too. The bundle appears whole or not at all; one at
    ``path`` is replaced, anything else there is refused with :class:`UsageError`. ``on_step`` is told, up
    to :data:`STEPS` times (and :data:`AUTO_STEPS` more), what comes next.
    """
    path = Path(path)
    check_replaceable(path)
    if maps and len(model.config.branches) == 1:
        raise UsageError(
            "this network has one branch, whose scores --heatmaps gives: --maps needs a network with two"
        )
    for picture in pictures[: MAX_PAIRS + 1]:  # before the slow part
        read_image(picture)
    model.eval()
    exported = model.in_half() if half else model
    with atomic_path(path) as temporary:
        temporary.mkdir()
        graphs = {}
        on_step("tracing the encoder")
        graphs[ENCODER] = write_onnx(EncoderGraph(exported), temporary / f"{ENCODER}.onnx")
        choice = _choose(exported, conv4d, temporary, pictures, on_step)
        exported.lower(LOWERINGS[choice.lowering])
        on_step("tracing the matcher")
        matcher = MatcherGraph(exported, heatmaps=heatmaps, maps=maps)
        graphs[MATCHER] = write_onnx(matcher, temporary / f"{MATCHER}.onnx")
        manifest = Manifest(
            model=_plain(dataclasses.asdict(model.config)),
            image_size=model.config.image_size,
            grid=model.grid,
            normalisation=_plain(BACKBONES[model.config.backbone].normalisation._asdict()),
            heatmaps=matcher.heatmaps,
            maps=matcher.maps,
            conv4d=choice,
            precision=_precision(graphs, half),
            graphs=graphs,
            tools=tool_versions(),
        )
        model.lower(STACK)  # what every lowering must agree with
        verification = verify(
            model,
            Bundle(temporary, manifest),
            pictures,
            on_pair=lambda: on_step("comparing with PyTorch"),
        )
        manifest = dataclasses.replace(manifest, verification=verification)
        write_manifest(temporary, manifest)
    return Bundle(path, manifest)


def _precision(graphs: dict[str, Graph], half: bool) -> str:
    """What the written graphs have. Raises :class:`NotVerifiedError` where it is not what was asked for."""
    wanted = "float16" if half else "float32"
    for name, graph in graphs.items():
        if graph.precision != wanted:
            raise NotVerifiedError(
                f"the {name} was to be {wanted} and is {graph.precision} ({graph.layers}): nothing was "
                "written; please report this"
            )
    return wanted


def _choose(
    model: DCCNet,
    conv4d: str,
    folder: Path,
    pictures: Sequence[Path],
    on_step: Callable[[str], None],
) -> Conv4dChoice:
    """``auto`` times every lowering on the features that the encoder in ``folder`` has for two pictures."""
    if conv4d != AUTO:
        return Conv4dChoice(conv4d)
    encoder = OnnxRuntimeGraph(folder / f"{ENCODER}.onnx")
    features: dict[str, Array] = {}
    for side, path in zip("ab", pictures, strict=False):
        frame = resize_uint8(read_image(path), model.config.image_size)
        outputs = encoder.run({"frame": frame[None]})
        features |= {f"{name}_{side}": value for name, value in outputs.items()}
    seconds = time_lowerings(
        model, features, folder, lambda name: on_step(f"timing 4D convolutions: {name}")
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    engine = f"onnxruntime {_onnxruntime_version()}, CPU, {cores} cores"
    return Conv4dChoice(next(iter(seconds)), seconds, engine)


def _onnxruntime_version() -> str:
    tools = tool_versions()
    return tools.get("onnxruntime") or tools["onnxruntime-gpu"]


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """With lists for tuples, as the manifest reads back."""
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain
