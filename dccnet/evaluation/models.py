"""Models to evaluate: a checkpoint in PyTorch, or a bundle in any backend, behind one interface."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dccnet.evaluation.baseline import nearest_neighbour
from dccnet.runtime.arrays import Image
from dccnet.runtime.confidence import ConfidenceModel
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import DccError, EngineError, UsageError
from dccnet.runtime.extras import required
from dccnet.runtime.features import Features
from dccnet.runtime.files import sha256
from dccnet.runtime.manifest import ENCODER, Manifest, manifest_digest
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.models.names import find_model, open_bundle
from dccnet.runtime.selection import BackendChoice, gpu_index
from dccnet.runtime.views.choices import Mirror
from dccnet.runtime.views.ways import AS_THEY_ARE, Ways

LOCAL = "local"
"""The branch whose features are the backbone's."""
_MIRRORED: dict[Mirror, str] = {True: "source mirrored", "auto": "source mirrored where more confident"}
ENGINE_SUFFIXES = (".engine", ".plan", ".trt")


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """An opened network, which computes features of pictures and correspondences of features."""

    path: Path
    digest: str
    """SHA-256 of the weights."""
    backend: str
    """Description of what runs the network."""
    encode: Callable[[Image], Any]
    match: Callable[[Any, Any], Correspondences]
    nbytes: Callable[[Any], int]
    """Size in bytes of the features of one picture."""
    confidence: ConfidenceModel | None = None
    """That of a bundle, if it has one."""
    nearest: Callable[[Any, Any], Correspondences | None] = lambda a, b: None
    """The baseline: nearest neighbours of the local features that ``match`` takes, without heat maps. None
    where there are no local features, or where they are in a GPU's memory."""
    refines: bool = False
    """Whether its matches are refined."""
    encode_target: Callable[[Image], Any] | None = None
    """Features of a picture that is only matched as a target, where these take less time than those of
    ``encode``, such as without those of its mirror image."""


def open_model(
    path: Path,
    choice: BackendChoice,
    on_note: Callable[[str], None] = lambda text: None,
    refine: bool | None = None,
    ways: Ways = AS_THEY_ARE,
    *,
    heatmaps: bool = False,
) -> Model:
    """Open a checkpoint (``.safetensors``), a bundle (or its name), or an engine in its bundle's folder.

    ``on_note`` is called with remarks about the chosen backend. ``refine`` and ``ways`` are those of
    ``Matcher.open``. With ``heatmaps``, a checkpoint returns all scores, too; a bundle does if it was
    exported so. Raises :class:`DccError` for any other path, and :class:`UsageError` for a backend that
    cannot run the model, for ``refine`` with a model that cannot, and other ``ways`` with a checkpoint.
    """
    if path.suffix in ENGINE_SUFFIXES:
        if not (path.parent / "manifest.json").is_file():
            raise UsageError(
                f"{path} is one of two graphs and lies in no bundle: evaluate the bundle that it was built "
                "from with --backend tensorrt"
            )
        if choice.backend not in ("auto", "tensorrt"):
            raise UsageError(f"an engine runs in TensorRT: remove --backend {choice.backend}")
        return _open_bundle(path.parent, choice._replace(backend="tensorrt"), on_note, refine, ways)
    if find_model(path, on_note).is_dir():
        if choice.backend == "pytorch":
            raise UsageError(
                f"{path} is a bundle and holds no PyTorch weights: evaluate the checkpoint that it was "
                "exported from"
            )
        return _open_bundle(path, choice, on_note, refine, ways)
    if path.name.endswith((".pth.tar", ".pth", ".pt")):
        raise UsageError(f"{path} is a pickle: dcc import {path} -o MODEL.safetensors, then evaluate that")
    if not path.exists():
        raise DccError(f"{path} does not exist; give a checkpoint (.safetensors) or a bundle")
    if choice.backend not in ("auto", "pytorch"):
        raise UsageError(f"{path} is a checkpoint, which runs in PyTorch: export it for {choice.backend}")
    if ways != AS_THEY_ARE:
        raise UsageError(f"{path} is a checkpoint: --mirror and --views take bundles (dcc export)")
    return _open_checkpoint(path, choice, refine, heatmaps)


def require_confidence(path: Path, on_note: Callable[[str], None]) -> None:
    """Raises :class:`UsageError` for a model without confidence; it is not loaded for that.

    What does not exist is left to :func:`open_model`.
    """
    found = path.parent if path.suffix in ENGINE_SUFFIXES else find_model(path, on_note)
    confidence = open_bundle(found).manifest.confidence if found.is_dir() else None
    if confidence is None and found.exists():
        raise UsageError(
            f"--reliability needs bundles with confidence, and {path} has none (dcc confidence)"
        )


def _open_bundle(
    path: Path,
    choice: BackendChoice,
    on_note: Callable[[str], None],
    refine: bool | None,
    ways: Ways,
) -> Model:
    matcher = Matcher.open(path, **choice._asdict(), refine=refine, **ways._asdict(), on_note=on_note)
    # The features may be on a GPU; their size follows from the graph's outputs.
    nbytes = sum(
        np.dtype(spec.dtype).itemsize * math.prod(d for d in spec.shape if isinstance(d, int))
        for spec in matcher.manifest.graphs[ENCODER].outputs
    )
    return Model(
        path,
        digest=graphs_digest(matcher.manifest),
        backend=backend_of_bundle(matcher),
        encode=matcher.encode,
        match=matcher.match,
        nbytes=lambda features: nbytes * len(features.views),
        confidence=matcher.manifest.confidence,
        nearest=partial(nearest_of_bundle, heatmaps=False),
        refines=matcher.refines,
        encode_target=partial(matcher.encode, mirrored=False),
    )


def graphs_digest(manifest: Manifest) -> str:
    """One SHA-256 for all graphs of a bundle, which contain its weights."""
    return manifest_digest({name: graph.sha256 for name, graph in manifest.graphs.items()})


def backend_of_bundle(matcher: Matcher) -> str:
    """What runs a bundle's network, its precision, and in which ways pictures are matched, for people."""
    runs, (mirror, views) = f"{matcher.backend.description}, {matcher.manifest.precision}", matcher.ways
    if mirror is not False:
        runs = f"{runs}, {_MIRRORED[mirror]}"
    return runs if views == 1 else f"{runs}, {views} views"


def nearest_of_bundle(a: Features, b: Features, *, heatmaps: bool = True) -> Correspondences | None:
    """Nearest neighbours of what a bundle's encoder returned; see :attr:`Model.nearest`."""
    za, zb = (features.tensors.get(LOCAL) for features in (a, b))
    if not (isinstance(za, np.ndarray) and isinstance(zb, np.ndarray)):
        return None
    return nearest_neighbour(za, zb, a.size, b.size, heatmaps=heatmaps)


def _open_checkpoint(
    path: Path, choice: BackendChoice, refine: bool | None, heatmaps: bool = False
) -> Model:
    with required("a checkpoint", "train"):
        import torch

        from dccnet.inference import TorchMatcher, match_features
        from dccnet.network.precision import set_tf32
        from dccnet.weights.checkpoint import load_checkpoint
    if choice.provider is not None:
        raise UsageError(
            "--provider is an option of ONNX Runtime, but a checkpoint runs in PyTorch: remove it"
        )
    if choice.bf16:
        raise UsageError("--bf16 is an option of OpenVINO, but a checkpoint runs in PyTorch: remove it")
    if choice.threads:
        torch.set_num_threads(choice.threads)
    set_tf32(choice.tf32)
    device = _torch_device(torch.cuda.is_available(), choice.device)
    model = load_checkpoint(path)
    try:
        matcher = TorchMatcher(model, device, refine)
    except ValueError as error:
        raise UsageError(f"{path} cannot refine its matches ({error}): remove --refine") from error

    def match(a: Any, b: Any) -> Correspondences:
        result = match_features(model, a[0], b[0], a[1], b[1], heatmaps=heatmaps)
        if not (np.isfinite(result.score_a).all() and np.isfinite(result.score_b).all()):
            raise EngineError(f"{path} computed scores that are not finite: its training diverged")
        return result

    def nearest(a: Any, b: Any) -> Correspondences | None:
        if LOCAL not in a[0]:
            return None
        za, zb = (features[LOCAL].cpu().numpy() for features, _ in (a, b))
        return nearest_neighbour(za, zb, a[1], b[1], heatmaps=False)

    place = "CPU" if device == "cpu" else device
    precision = "TF32" if choice.tf32 and device != "cpu" else "float32"
    return Model(
        path,
        digest=sha256(path),
        backend=f"PyTorch {torch.__version__} ({place}), {precision}",
        encode=matcher.encode,
        match=match,
        nbytes=lambda features: sum(int(tensor.nbytes) for tensor in features[0].values()),
        nearest=nearest,
        refines=matcher.refines,
    )


def _torch_device(cuda_available: bool, device: str) -> str:
    gpu = gpu_index(device)
    if device == "auto":
        return "cuda:0" if cuda_available else "cpu"
    if gpu is not None and not cuda_available:
        raise EngineError(f"--device {device} cannot be used: PyTorch finds no CUDA here; use --device cpu")
    return "cpu" if gpu is None else f"cuda:{gpu}"
