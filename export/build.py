"""From a network to a verified bundle."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from dccnet.backbone import BACKBONES
from dccnet.model import DCCNet
from export.graphs import EncoderGraph, MatcherGraph
from export.onnx_file import write_onnx
from export.verify import MAX_PAIRS, verify
from runtime.bundle import ENCODER, MANIFEST, MATCHER, Bundle, Manifest, read_manifest, write_manifest
from runtime.errors import BundleError, UsageError
from runtime.files import atomic_path
from runtime.images import read_image

STEPS = 2 + MAX_PAIRS


def export_bundle(
    model: DCCNet,
    path: str | os.PathLike[str],
    pictures: Sequence[Path],
    *,
    heatmaps: bool = False,
    on_step: Callable[[str], None] = lambda description: None,
) -> Bundle:
    """Write the bundle, run it on ``pictures`` against PyTorch, and record the outcome in it.

    The bundle appears whole or not at all; one at ``path`` is replaced, anything else there is
    refused with :class:`UsageError`. ``on_step`` is told, up to :data:`STEPS` times, what comes next.
    """
    path = Path(path)
    if path.exists() and not _is_only_a_bundle(path):
        raise UsageError(f"{path} exists and is not a bundle, or holds more than one: choose another name")
    for picture in pictures[: MAX_PAIRS + 1]:  # before the slow part
        read_image(picture)
    model.eval()
    with atomic_path(path) as temporary:
        temporary.mkdir()
        graphs = {}
        for name, graph in (
            (ENCODER, EncoderGraph(model)),
            (MATCHER, MatcherGraph(model, heatmaps=heatmaps)),
        ):
            on_step(f"tracing the {name}")
            graphs[name] = write_onnx(graph, temporary / f"{name}.onnx")
        manifest = Manifest(
            model=_plain(dataclasses.asdict(model.config)),
            image_size=model.config.image_size,
            grid=model.grid,
            normalisation=_plain(BACKBONES[model.config.backbone].normalisation._asdict()),
            heatmaps=heatmaps,
            graphs=graphs,
            tools=tool_versions(),
        )
        verification = verify(
            model,
            Bundle(temporary, manifest),
            pictures,
            on_pair=lambda: on_step("comparing with PyTorch"),
        )
        manifest = dataclasses.replace(manifest, verification=verification)
        write_manifest(temporary, manifest)
    return Bundle(path, manifest)


def _is_only_a_bundle(path: Path) -> bool:
    """Whether replacing the folder loses nothing but a bundle."""
    try:
        manifest = read_manifest(path)
    except BundleError:
        return False
    known = {MANIFEST, *(graph.file for graph in manifest.graphs.values())}
    return {entry.name for entry in path.iterdir()} <= known


def tool_versions() -> dict[str, str]:
    tools = {"python": platform.python_version()}
    for package in ("dccnet", "torch", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu"):
        try:
            tools[package] = version(package)
        except PackageNotFoundError:
            continue
    return tools


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """With lists for tuples, as the manifest reads back."""
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain
