"""Which step of the network a node of a graph belongs to: its module's name, left there by the export."""

from __future__ import annotations

import onnx

from dccnet.runtime.errors import BundleError

STEP = "step"
"""Key of a node's metadata in the ONNX file."""
OUTSIDE = "graph"
"""The step of what no module of the network calls: frames coming in, best matches going out."""


def read_steps(model: onnx.ModelProto, where: str) -> dict[str, str]:
    """Step of each node, by the node's name.

    What the exporter's optimiser made is of the step that uses it. Raises :class:`BundleError` where a
    graph, called ``where`` to the user, has no steps.
    """
    marked = {
        node.name: entry.value
        for node in model.graph.node
        for entry in node.metadata_props
        if entry.key == STEP
    }
    if not marked:
        raise BundleError(
            f"{where} does not say which of its nodes compute what: export it again with this dcc"
        )
    users: dict[str, str] = {}
    steps: dict[str, str] = {}
    for node in reversed(model.graph.node):
        found = marked.get(node.name) or next((users[o] for o in node.output if o in users), OUTSIDE)
        steps[node.name] = found
        users.update((name, found) for name in node.input)
    return steps
