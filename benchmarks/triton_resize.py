"""Frames for Triton: the exported graph, and ONNX's Resize, against the runtime's resizing.

    python benchmarks/triton_resize.py

Takes the photographs that scikit-image brings, whole and in crops of many sizes, and the built-in model's
frames. Prints for each way the share of values that differ from the runtime's, the largest difference in
grey levels, and the median milliseconds of CPU time for a picture of 1920x1080 pixels on one thread.
"""

from __future__ import annotations

import time

import numpy as np
import onnx
import onnxruntime
import skimage.data
from onnx import TensorProto, helper

from dccnet.export.triton.graphs.build import preprocessing
from dccnet.runtime.arrays import Image
from dccnet.runtime.models.names import open_bundle

CROPS, REPEATS = 40, 21


def main() -> None:
    manifest = open_bundle().manifest
    height, width = manifest.image_size
    sessions = {
        "exported graph": _session(preprocessing(manifest)),
        "ONNX Resize": _session(_resize(height, width)),
    }
    pictures = list(_pictures())
    large = np.ascontiguousarray(np.tile(pictures[0], (4, 4, 1))[:1080, :1920])
    print(f"{len(pictures)} pictures, {height}x{width} frames, onnxruntime {onnxruntime.__version__}")
    for name, session in sessions.items():
        differing, values, largest = 0, 0, 0
        for picture in pictures:
            (frame, *_) = session.run(["frame"], {"picture": picture[None]})
            difference = np.abs(frame[0].astype(int) - manifest.frames.of(picture))
            differing += int((difference > 0).sum())
            values += difference.size
            largest = max(largest, int(difference.max()))
        share = f"{differing} of {values} values differ ({100 * differing / values:.4f} %)"
        print(f"{name}: {share}, by {largest} at most; {_milliseconds(session, large):.1f} ms")


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _pictures() -> list[Image]:
    names = ("astronaut", "chelsea", "coffee", "rocket")
    photos = [np.ascontiguousarray(getattr(skimage.data, name)()[..., ::-1]) for name in names]
    random = np.random.default_rng(0)
    crops = []
    for number in range(CROPS):
        photo = photos[number % len(photos)]
        height, width = (int(random.integers(20, side)) for side in photo.shape[:2])
        crops.append(np.ascontiguousarray(photo[:height, :width]))
    return photos + crops


def _resize(height: int, width: int) -> onnx.ModelProto:
    """What one would write with ONNX's own operator."""
    sizes = helper.make_tensor("sizes", TensorProto.INT64, [2], [height, width])
    half = helper.make_tensor("half", TensorProto.FLOAT, [], [0.5])
    attributes = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
    nodes = [
        helper.make_node("Transpose", ["picture"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Shape", ["floats"], ["first"], end=2),
        helper.make_node("Concat", ["first", "sizes"], ["shape"], axis=0),
        helper.make_node("Resize", ["floats", "", "", "shape"], ["resized"], **attributes),
        helper.make_node("Add", ["resized", "half"], ["rounded"]),
        helper.make_node("Cast", ["rounded"], ["bytes"], to=TensorProto.UINT8),
        helper.make_node("Transpose", ["bytes"], ["frame"], perm=[0, 2, 3, 1]),
    ]
    picture = helper.make_tensor_value_info("picture", TensorProto.UINT8, ["batch", "height", "width", 3])
    frame = helper.make_tensor_value_info("frame", TensorProto.UINT8, ["batch", height, width, 3])
    graph = helper.make_graph(nodes, "resize", [picture], [frame], [sizes, half])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def _milliseconds(session: onnxruntime.InferenceSession, picture: Image) -> float:
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        session.run(["frame"], {"picture": picture[None]})
        times.append(1000 * (time.process_time() - start))
    return float(np.median(times))


if __name__ == "__main__":
    main()
