"""From a network to a verified bundle."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dccnet.export.autotune import SEPARABLE, suitable_lowerings, time_lowerings
from dccnet.export.bundles.folder import check_replaceable, tool_versions
from dccnet.export.bundles.readback import describe_onnx
from dccnet.export.graphs import EncoderGraph, MatcherGraph
from dccnet.export.matcher_process import MatcherProcess
from dccnet.export.onnx_file import write_onnx
from dccnet.export.reference import as_reference
from dccnet.export.verify import MAX_PAIRS, Expected, verify
from dccnet.inference import fine_grid, frame_format, with_refinement
from dccnet.network.backbone import BACKBONES
from dccnet.network.config import ModelConfig
from dccnet.network.conv4d import EXPORT_LOWERINGS, NotSeparableError
from dccnet.network.model import DCCNet
from dccnet.runtime.backend import matcher_inputs
from dccnet.runtime.bundle import Bundle, write_manifest
from dccnet.runtime.cores import usable_cores
from dccnet.runtime.errors import NotVerifiedError, UsageError
from dccnet.runtime.files import atomic_path
from dccnet.runtime.geometry import Size
from dccnet.runtime.images import read_image
from dccnet.runtime.manifest import ENCODER, MATCHER, Conv4dChoice, Graph, Manifest
from dccnet.runtime.messages import note
from dccnet.runtime.onnx_runtime import OnnxRuntimeGraph

AUTO, USUAL, ALL = "auto", "usual", "all"
STEPS = 2 + MAX_PAIRS
"""Number of steps of an export, at most."""
LARGEST_FOR_SMALL_KERNELS = 32
"""Side of the grid, in cells, above which transforms cost more than kernels of 3 save."""
AUTO_STEPS = len(EXPORT_LOWERINGS) + 1
"""Number of additional steps where the lowering is chosen by timing."""


def export_bundle(
    model: DCCNet,
    path: str | os.PathLike[str],
    pictures: Sequence[Path],
    *,
    heatmaps: bool = False,
    maps: bool = False,
    conv4d: str = USUAL,
    half: bool = False,
    fine: bool | None = None,
    on_step: Callable[[str], None] = lambda description: None,
    process: MatcherProcess | None = None,
) -> Bundle:
    """Write the bundle, compare it with PyTorch on ``pictures``, and store the outcome in its manifest.

    ``heatmaps`` and ``maps`` add outputs (:class:`~dccnet.export.graphs.MatcherGraph`). ``conv4d`` is a
    name in :data:`EXPORT_LOWERINGS`, ``usual`` (:func:`usual_lowering`), ``all`` to write the others beside
    the usual one, or ``auto`` to time all of them in ONNX Runtime on this CPU and use the fastest. ``half``
    exports in float16 with float32 islands (``dccnet/network/precision.py``) and also measures the ranges
    of float16 tensors. ``fine`` adds the fine features, by which matches are refined; None adds them where
    the backbone's have been measured (:class:`~dccnet.network.backbone.BackboneSpec`). ``on_step`` is
    called with a description of each step before it, up to :data:`STEPS` times (with ``auto`` and ``all``,
    :data:`AUTO_STEPS` more). ``process`` traces the matcher while this one traces the encoder, and writes
    the same; it is closed, and not used with ``auto``. Where it fails, this process does its work. The
    bundle is written completely or not at all; a bundle at ``path`` is replaced.

    Raises :class:`UsageError` where ``path`` is anything but a bundle, for ``maps`` of a network with one
    branch, and for ``separable`` where a kernel is not; :class:`NotVerifiedError` where a written graph
    does not have the precision that it should.
    """
    path = Path(path)
    check_replaceable(path)
    if maps and len(model.config.branches) == 1:
        raise UsageError(
            "this network has one branch, whose scores --heatmaps returns: --maps needs a network with two"
        )
    try:
        fine = with_refinement(model, fine)
    except ValueError as error:
        raise UsageError(f"{error} to refine matches by: remove --fine") from error
    for picture in pictures[: MAX_PAIRS + 1]:  # raises before the slow part
        read_image(picture)
    model.eval()
    exported = model.in_half() if half else model.folded()
    if conv4d == SEPARABLE:
        _check_separable(exported)
    beside = None if conv4d == AUTO else process
    closing = contextlib.nullcontext() if process is None else contextlib.closing(process)
    with atomic_path(path) as temporary, closing, as_reference(model):
        temporary.mkdir()
        matcher = MatcherGraph(exported, heatmaps=heatmaps, maps=maps)
        expected = Expected(model, fine)
        if conv4d != AUTO:
            choice = _named(exported, conv4d, half)
            files = _matcher_files(exported, choice, conv4d, temporary)
        if beside is not None:
            beside.start(matcher, files)
        on_step("tracing the encoder")
        graphs = {ENCODER: write_onnx(EncoderGraph(exported, fine), temporary / f"{ENCODER}.onnx")}
        if conv4d == AUTO:  # timed with what the encoder returns
            choice = _fastest(exported, temporary, pictures, on_step)
            files = _matcher_files(exported, choice, conv4d, temporary)
        on_step("tracing the matcher")
        if beside is None:
            others = _write_matchers(matcher, files, on_step)
        else:
            expected.compute(pictures)  # while the process works
            others = _written_beside(beside, matcher, files, on_step)
        graphs[MATCHER] = others.pop(choice.lowering)
        manifest = Manifest(
            model=json.loads(model.config.to_json()),
            image_size=model.config.image_size,
            frame=frame_format(model.config).description,
            grid=model.grid,
            normalisation=_plain(BACKBONES[model.config.backbone].normalisation._asdict()),
            heatmaps=matcher.heatmaps,
            maps=matcher.maps,
            fine=fine_grid(model) if fine else None,
            conv4d=choice,
            precision=_precision({**graphs, **others}, half),
            graphs=graphs,
            lowerings=others,
            tools=tool_versions(),
        )
        bundle = Bundle(temporary, manifest)
        verification = verify(model, bundle, pictures, lambda: on_step("comparing with PyTorch"), expected)
        for name in others:
            if verification.passed:  # what fails is recorded
                again = verify(model, bundle.with_lowering(name), pictures[:2], expected=expected)
                verification = verification if again.passed else again
        manifest = dataclasses.replace(manifest, verification=verification)
        write_manifest(temporary, manifest)
    return Bundle(path, manifest)


def usual_lowering(config: ModelConfig, grid: Size, half: bool = False) -> str:
    """The lowering that docs/conv4d.md found fastest on CPUs, or nearly so, for such kernels and grids.

    Kernels that are sums of few products have ``separable`` instead, whatever their sizes.

    For half precision, which is meant for GPUs, that of the only measurement on one (docs/gpu.md): on an
    H200, in PyTorch, ``stack`` took 0.4 times as long as ``spectral``.

    Where kernels are as large as the paper's, ``spectral3`` is up to 1.3 times as fast as ``spectral``, but
    loads more slowly and takes three times the memory.
    """
    if half:
        return "stack"
    small = max(config.consensus_kernels) < 5
    return "stack" if small and max(grid) > LARGEST_FOR_SMALL_KERNELS else "spectral"


def _check_separable(model: DCCNet) -> None:
    try:
        model.lower(EXPORT_LOWERINGS[SEPARABLE])
    except NotSeparableError as error:
        raise UsageError(f"{error}: use --conv4d usual, which takes what suits the network") from error


def _precision(graphs: dict[str, Graph], half: bool) -> str:
    """Precision of the written graphs. Raises :class:`NotVerifiedError` if it is not the requested one."""
    wanted = "float16" if half else "float32"
    for name, graph in graphs.items():
        if graph.precision != wanted:
            raise NotVerifiedError(
                f"the {name} was to be {wanted} and is {graph.precision} ({graph.layers}): nothing was "
                "written; please report this"
            )
    return wanted


def _matcher_files(model: DCCNet, choice: Conv4dChoice, conv4d: str, folder: Path) -> dict[str, Path]:
    """The matcher's files by their lowering; the chosen one comes first."""
    files = {choice.lowering: folder / f"{MATCHER}.onnx"}
    for name in suitable_lowerings(model) if conv4d == ALL else ():
        files.setdefault(name, folder / f"{MATCHER}.{name}.onnx")
    return files


def _write_matchers(
    matcher: MatcherGraph, files: dict[str, Path], on_step: Callable[[str], None]
) -> dict[str, Graph]:
    graphs: dict[str, Graph] = {}
    for name, file in files.items():
        if graphs:
            on_step(f"tracing the matcher: {name}")
        matcher.model.lower(EXPORT_LOWERINGS[name])
        graphs[name] = write_onnx(matcher, file)
    return graphs


def _written_beside(
    process: MatcherProcess, matcher: MatcherGraph, files: dict[str, Path], on_step: Callable[[str], None]
) -> dict[str, Graph]:
    """What ``process`` was started to write; or the same, written here, where it failed: an error that is
    not the process's own alone is raised here, too, and says what to do."""
    problem = process.wait()
    if problem is None:
        return {name: describe_onnx(file) for name, file in files.items()}
    graphs = _write_matchers(matcher, files, on_step)
    note(f"a second process, which was to trace the matcher, failed ({problem}): it was traced without")
    return graphs


def _named(model: DCCNet, conv4d: str, half: bool) -> Conv4dChoice:
    """The lowering named by ``conv4d``, which is not ``auto``."""
    if conv4d not in (USUAL, ALL):
        return Conv4dChoice(conv4d)
    separable = SEPARABLE in suitable_lowerings(model)
    return Conv4dChoice(SEPARABLE if separable else usual_lowering(model.config, model.grid, half))


def _fastest(
    model: DCCNet, folder: Path, pictures: Sequence[Path], on_step: Callable[[str], None]
) -> Conv4dChoice:
    """The fastest lowering on the features of two pictures; the encoder is already in ``folder``."""
    encoder = OnnxRuntimeGraph(folder / f"{ENCODER}.onnx")
    frames = (frame_format(model.config).of(read_image(path)) for path in pictures[:2])
    a, b = (encoder.run({"frame": frame[None]}) for frame in frames)
    seconds = time_lowerings(
        model, matcher_inputs(a, b), folder, lambda name: on_step(f"timing 4D convolutions: {name}")
    )
    engine = f"onnxruntime {_onnxruntime_version()}, CPU, {usable_cores()} cores"
    return Conv4dChoice(next(iter(seconds)), seconds, engine)


def _onnxruntime_version() -> str:
    tools = tool_versions()
    return tools.get("onnxruntime") or tools["onnxruntime-gpu"]


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """The same with lists for tuples, as JSON returns them."""
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain
