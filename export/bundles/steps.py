"""The step of the network that a node of a graph belongs to: its module's name, stored by the export."""

from __future__ import annotations

import onnx

from dccnet.runtime.errors import BundleError

STEP = "step"
"""Key of the step in a node's metadata."""
OUTSIDE = "graph"
"""The step of nodes outside every module: those that prepare frames and select best matches."""


def read_steps(model: onnx.ModelProto, title: str) -> dict[str, str]:
    """The step of each node, by the node's name.

    Nodes that the exporter's optimiser added belong to the step that uses their results. Raises
    :class:`BundleError`, with the graph's ``title``, for a graph without steps.
    """
    marked = {
        node.name: entry.value
        for node in model.graph.node
        for entry in node.metadata_props
        if entry.key == STEP
    }
    if not marked:
        raise BundleError(
            f"{title} does not say which step of the network each node belongs to: export it again with "
            "this version of dcc"
        )
    users: dict[str, str] = {}
    steps: dict[str, str] = {}
    for node in reversed(model.graph.node):
        step = marked.get(node.name) or next((users[o] for o in node.output if o in users), OUTSIDE)
        steps[node.name] = step
        users.update((name, step) for name in node.input)
    return steps
