"""Bundles whose encoder takes uint8 frames, as those of small networks and all of version 0.1 do."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from dccnet.export.bundles.readback import describe_onnx
from dccnet.runtime.bundle import Bundle, write_manifest
from dccnet.runtime.frames import UINT8, FrameFormat


def with_byte_frames(bundle: Bundle, path: Path) -> Bundle:
    """A copy of ``bundle`` at ``path`` whose encoder casts uint8 frames first."""
    path.mkdir()
    for name, graph in bundle.manifest.graphs.items():
        model = onnx.load(str(bundle.graph_path(name)))
        if name == "encoder":
            (frame,) = model.graph.input
            for node in model.graph.node:
                node.input[:] = ["cast" if value == frame.name else value for value in node.input]
            cast = helper.make_node("Cast", [frame.name], ["cast"], "cast", to=TensorProto.FLOAT)
            model.graph.node.insert(0, cast)
            frame.type.tensor_type.elem_type = TensorProto.UINT8
        onnx.save(model, str(path / graph.file))
    graphs = {name: describe_onnx(path / graph.file) for name, graph in bundle.manifest.graphs.items()}
    manifest = dataclasses.replace(
        bundle.manifest,
        graphs=graphs,
        frame=FrameFormat(bundle.manifest.image_size, UINT8).description,
        schema=3,
    )
    write_manifest(path, manifest)
    return Bundle.open(path)
