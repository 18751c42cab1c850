"""The steps of a float32 bundle that can become half precision."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import onnx

from dccnet.calibration.groups import Group, Level, backbone_group, multiply_accumulates, weight_widths
from dccnet.calibration.half.graph import to_half_precision
from dccnet.export.bundles.readback import FLOATS, tensor_types
from dccnet.export.bundles.rounding import open_with_rounding
from dccnet.export.bundles.steps import OUTSIDE, read_steps
from dccnet.runtime.bundle import Bundle
from dccnet.runtime.errors import BundleError
from dccnet.runtime.manifest import ENCODER, MATCHER
from dccnet.runtime.matcher import Matcher

CORRELATION = "correlation"
_TRUNK = "backbone.trunk."
_GROUPS = {
    "context_encoder": "context.embed",
    "context_encoder.embed": "context.embed",
    "context_encoder.similarity": "context.similarity",
    "context_encoder.l2_norm": "context.l2_norm",
    "fusion": "attention",
    "fusion.attend": "attention",
    "fusion.embedding": "embedding",
    "fusion.softmax": "softmax",
    "fusion.product": "product",
}
"""Names of groups that differ from the names of their steps in the network."""


@dataclass(frozen=True, slots=True, eq=False)
class HalfPrecisionCandidates:
    """Steps are those of ``export/bundles/steps.py``. Input frames and best matches stay float32."""

    bundle: Bundle
    models: Mapping[str, onnx.ModelProto]
    """Both graphs, by name."""
    steps: Mapping[str, Mapping[str, str]]
    """For each graph, the step of each node, by names."""
    name: str = "float16"

    @classmethod
    def open(cls, bundle: Bundle) -> HalfPrecisionCandidates:
        """Load both graphs. Raises :class:`BundleError` for a bundle that is not float32, and for one of an
        older dcc."""
        if bundle.manifest.precision != "float32":
            raise BundleError(
                f"{bundle.path} is {bundle.manifest.precision} already: half precision starts from a "
                "bundle of dcc export without --fp16"
            )
        models = {name: onnx.load(str(bundle.graph_path(name))) for name in (ENCODER, MATCHER)}
        steps = {name: read_steps(model, str(bundle.graph_path(name))) for name, model in models.items()}
        return cls(bundle, models, steps)

    def groups(self, level: Level) -> list[Group]:
        steps: dict[str, dict[str, None]] = {}
        macs: dict[str, int] = {}
        weights: dict[str, dict[str, int]] = {}
        for graph, model in self.models.items():
            counts, widths = multiply_accumulates(model), weight_widths(model)
            floats = {name for name, dtype in tensor_types(model).items() if dtype in FLOATS}
            for node in model.graph.node:
                step = self.steps[graph][node.name]
                group = group_of(step, level)
                if group is None:
                    continue
                steps.setdefault(group, {})[step] = None
                macs[group] = macs.get(group, 0) + counts.get(node.name, 0)
                read = {name: 2 * widths[name][0] for name in node.input if name in widths}
                weights.setdefault(group, {}).update({n: b for n, b in read.items() if n in floats})
        return [Group(g, tuple(steps[g]), macs[g], sum(weights[g].values())) for g in steps]

    def graphs(self, chosen: Collection[str]) -> dict[str, onnx.ModelProto]:
        """Both graphs with the steps of these names in float16.

        Features are float16 where the correlation is.
        """
        features = {spec.name for spec in self.bundle.manifest.graphs[ENCODER].outputs}
        features |= {spec.name for spec in self.bundle.manifest.graphs[MATCHER].inputs}
        halved = features if CORRELATION in chosen else set()
        return {
            name: to_half_precision(
                model, {node for node, step in self.steps[name].items() if step in chosen}, halved
            )
            for name, model in self.models.items()
        }

    def matcher(self, chosen: Collection[str]) -> Matcher:
        """The network with values rounded wherever float16 stores them
        (:mod:`dccnet.export.bundles.rounding`)."""
        return open_with_rounding(self.bundle, self.graphs(chosen))


def group_of(step: str, level: Level) -> str | None:
    """The group that a step belongs to; None for steps that always stay float32."""
    if step in (OUTSIDE, "backbone", "backbone.fine_features"):
        return None
    if step.startswith(_TRUNK):
        return backbone_group(step.removeprefix(_TRUNK), level)
    return _GROUPS.get(step, step)
