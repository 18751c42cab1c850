"""What is evaluated: a checkpoint in PyTorch or a bundle in any of the runtime's backends, as one thing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dccnet.runtime.bundle import ENCODER, Bundle, manifest_digest
from dccnet.runtime.correspondences import Correspondences
from dccnet.runtime.errors import DccError, EngineError, UsageError
from dccnet.runtime.files import sha256
from dccnet.runtime.images import Image
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.selection import Choice, gpu_index, open_backend

ENGINE_SUFFIXES = (".engine", ".plan", ".trt")


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """An opened network: pictures to features, features to correspondences."""

    path: Path
    digest: str
    """SHA-256 that changes with the weights."""
    backend: str
    """What runs it, for people to read."""
    encode: Callable[[Image], Any]
    match: Callable[[Any, Any], Correspondences]
    nbytes: Callable[[Any], int]
    """Of the features of one picture."""


def open_subject(path: Path, how: Choice, on_note: Callable[[str], None] = lambda text: None) -> Subject:
    """Open a checkpoint (``.safetensors``), a bundle, or an engine that lies in its bundle.

    Raises :class:`DccError` for what is none of these, and :class:`UsageError` for a backend that does not
    run it.
    """
    if path.suffix in ENGINE_SUFFIXES:
        if not (path.parent / "manifest.json").is_file():
            raise UsageError(
                f"{path} is one graph of two and lies in no bundle: evaluate the bundle that it was built "
                "from with --backend tensorrt"
            )
        if how.backend not in ("auto", "tensorrt"):
            raise UsageError(f"an engine runs in TensorRT: leave --backend {how.backend} away")
        return _bundle(path.parent, how._replace(backend="tensorrt"), on_note)
    if path.is_dir():
        if how.backend == "pytorch":
            raise UsageError(
                f"{path} is a bundle and holds no PyTorch weights: evaluate the checkpoint that it was "
                "exported from"
            )
        return _bundle(path, how, on_note)
    if path.name.endswith((".pth.tar", ".pth", ".pt")):
        raise UsageError(f"{path} is a pickle: dcc import {path} -o MODEL.safetensors, then evaluate that")
    if not path.exists():
        raise DccError(f"{path} does not exist; name a checkpoint (.safetensors) or a bundle")
    if how.backend not in ("auto", "pytorch"):
        raise UsageError(f"{path} is a checkpoint, which runs in PyTorch: export it for {how.backend}")
    return _checkpoint(path, how)


def _bundle(path: Path, how: Choice, on_note: Callable[[str], None]) -> Subject:
    bundle = Bundle.open(path)
    matcher = Matcher(bundle.manifest, open_backend(bundle, how, on_note))
    # The features stay where the backend has them; their size is known from the graph.
    nbytes = sum(
        np.dtype(spec.dtype).itemsize * math.prod(d for d in spec.shape if isinstance(d, int))
        for spec in bundle.manifest.graphs[ENCODER].outputs
    )
    return Subject(
        path,
        manifest_digest({name: graph.sha256 for name, graph in bundle.manifest.graphs.items()}),
        f"{matcher.backend.description}, {bundle.manifest.precision}",
        matcher.encode,
        matcher.match,
        lambda features: nbytes,
    )


def _checkpoint(path: Path, how: Choice) -> Subject:
    try:
        import torch

        from dccnet.inference import TorchMatcher, match_features
        from dccnet.weights.checkpoint import load_checkpoint
    except ImportError as error:
        raise DccError(f"a checkpoint needs {error.name}: pip install 'dccnet[train]'") from error
    if how.provider is not None:
        raise UsageError("--provider is of ONNX Runtime: a checkpoint runs in PyTorch")
    if how.threads:
        torch.set_num_threads(how.threads)
    device = _device(torch.cuda.is_available(), how.device)
    model = load_checkpoint(path)
    matcher = TorchMatcher(model, device)

    def match(a: Any, b: Any) -> Correspondences:
        result = match_features(model, a[0], b[0], a[1], b[1])
        if not (np.isfinite(result.score_a).all() and np.isfinite(result.score_b).all()):
            raise EngineError(f"{path} computed scores that are not finite: its training diverged")
        return result

    place = "CPU" if device == "cpu" else device
    return Subject(
        path,
        sha256(path),
        f"PyTorch {torch.__version__} ({place}), float32",
        matcher.encode,
        match,
        lambda features: sum(int(tensor.nbytes) for tensor in features[0].values()),
    )


def _device(cuda_there: bool, device: str) -> str:
    gpu = gpu_index(device)
    if device == "auto":
        return "cuda:0" if cuda_there else "cpu"
    if gpu is not None and not cuda_there:
        raise EngineError(f"--device {device} cannot be used: PyTorch finds no CUDA here; use --device cpu")
    return "cpu" if gpu is None else f"cuda:{gpu}"
