"""The backend that runs a bundle's graphs in ONNX Runtime on a GPU, where features stay."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from dccnet.runtime.arrays import Array
from dccnet.runtime.backend import Tensors, matcher_inputs
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.cuda import open_device
from dccnet.runtime.device_tensor import DeviceTensor, require_on_gpu
from dccnet.runtime.errors import NotVerifiedError
from dccnet.runtime.manifest import FINE
from dccnet.runtime.onnx_runtime import OnnxRuntimeBackend
from dccnet.runtime.tensorrt.cache import compared_once
from dccnet.runtime.tensorrt.comparison import compare_runs, disagreement
from dccnet.runtime.tensorrt.gpu_record import gpu_record
from dccnet.runtime.two_graphs import frame_on_host


class OnnxRuntimeGpuBackend(OnnxRuntimeBackend):
    """Both graphs in ONNX Runtime on a GPU; features stay there, a :class:`DeviceTensor` for each branch.

    Pictures are encoded in batches, and pairs matched one after the other.
    """

    def require_agreement(self, bundle: Bundle, tf32: bool) -> None:
        """Compare the provider with the one for CPUs, once on each GPU, driver and version.

        Raises :class:`NotVerifiedError` where they disagree, :class:`EngineError` where it does not run.
        """
        gpu = gpu_record(open_device(self._place[1]))
        graphs = [graph.sha256 for graph in bundle.manifest.graphs.values()]
        runs = self._encoder.run, self._matcher.run
        compare = partial(compare_runs, bundle, *runs, gpu, tf32=tf32)
        comparison = compared_once([*graphs, self.description, str(tf32)], gpu, compare)
        if not comparison.passed:
            raise NotVerifiedError(disagreement(comparison, "the results of ONNX Runtime's CUDA provider"))

    def encode(self, frame: Any, stream: int | None = None) -> Tensors:
        return self.encode_many([frame_on_host(frame)])[0]

    def match(self, a: Tensors, b: Tensors, stream: int | None = None) -> dict[str, Array]:
        inputs = require_on_gpu(matcher_inputs(a, b), self._place[1])
        outputs: dict[str, Any] = self._matcher.run_on_device(inputs, self._place, ())
        return {name: value[0] for name, value in outputs.items()}

    def encode_many(self, frames: Sequence[Array]) -> list[Tensors]:
        branches = [name for name in self._encoder.output_names if name != FINE]  # fine: for the host only
        features = self._encoder.run_on_device({"frame": np.stack(frames)}, self._place, branches)
        return [{name: _item(tensor, i) for name, tensor in features.items()} for i in range(len(frames))]

    def match_many(self, pairs: Sequence[tuple[Tensors, Tensors]]) -> list[dict[str, Array]]:
        return [self.match(a, b) for a, b in pairs]


def _item(tensor: Array | DeviceTensor, i: int) -> Array | DeviceTensor:
    """One picture of a batch, ``(1, …)``."""
    if not isinstance(tensor, DeviceTensor):
        return tensor[i : i + 1]
    nbytes = tensor.nbytes // tensor.shape[0]
    shape = (1, *tensor.shape[1:])
    return DeviceTensor(tensor.pointer + i * nbytes, shape, tensor.dtype, tensor.device, tensor.owner)
