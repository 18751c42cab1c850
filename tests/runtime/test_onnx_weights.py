"""Weights outside a graph's own file are found wherever ONNX allows a tensor."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, helper

from dccnet.runtime.bundle import Bundle, write_manifest
from dccnet.runtime.errors import BundleError
from dccnet.runtime.files import sha256
from dccnet.runtime.onnx_weights import has_external_weights


def _outside(name: str = "w") -> TensorProto:
    tensor = helper.make_tensor(name, TensorProto.FLOAT, [1], [1.0])
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    return tensor


def _initializer(model: ModelProto) -> None:
    model.graph.initializer.append(_outside())


def _constant(model: ModelProto) -> None:
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=_outside()))


def _in_a_branch(model: ModelProto) -> None:
    branch = helper.make_graph([], "branch", [], [], [_outside()])
    model.graph.node.append(helper.make_node("If", ["x"], ["y2"], then_branch=branch, else_branch=branch))


def _in_a_list(model: ModelProto) -> None:
    node = NodeProto(op_type="Custom")
    node.attribute.append(AttributeProto(name="many", type=AttributeProto.TENSORS, tensors=[_outside()]))
    model.graph.node.append(node)


def _sparse(model: ModelProto) -> None:
    model.graph.sparse_initializer.add(values=_outside())


def _in_a_function(model: ModelProto) -> None:
    model.functions.add(name="f").node.append(helper.make_node("Constant", [], ["c"], value=_outside()))


def _only_a_location(model: ModelProto) -> None:
    tensor = _outside()
    tensor.ClearField("external_data")
    model.graph.initializer.append(tensor)


def _plain() -> ModelProto:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    weight = helper.make_tensor("v", TensorProto.FLOAT, [1], [2.0])
    node = helper.make_node("Add", ["x", "v"], ["y"])
    return helper.make_model(helper.make_graph([node], "g", [value], [result], [weight]))


PLACES = [_initializer, _constant, _in_a_branch, _in_a_list, _sparse, _in_a_function, _only_a_location]


@pytest.mark.parametrize("place", PLACES)
def test_weights_in_another_file_are_found(place: Callable[[ModelProto], None], tmp_path: Path) -> None:
    model, path = _plain(), tmp_path / "graph.onnx"
    path.write_bytes(model.SerializeToString())
    assert not has_external_weights(path)
    place(model)
    path.write_bytes(model.SerializeToString())
    assert has_external_weights(path)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_bytes_are_answered_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(_plain().SerializeToString())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "mutated.onnx"
    path.write_bytes(bytes(content[: data.draw(st.integers(1, len(content)))]))
    with contextlib.suppress(ValueError):
        assert has_external_weights(path) in (True, False)


def test_a_bundle_with_weights_in_another_file_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    folder = tmp_path / "b"
    shutil.copytree(bundle.path, folder)
    path = folder / "encoder.onnx"
    onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, size_threshold=0)
    graph = dataclasses.replace(bundle.manifest.graphs["encoder"], sha256=sha256(path))
    graphs = bundle.manifest.graphs | {"encoder": graph}
    write_manifest(folder, dataclasses.replace(bundle.manifest, graphs=graphs))
    with pytest.raises(BundleError, match="keeps weights in another file"):
        Bundle.open(folder)
