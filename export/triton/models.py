"""The models of a repository: the bundle's graphs, those around them, and ensembles of all."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dccnet.export.triton.config import Model, Placing, Step
from dccnet.export.triton.graphs.build import PICTURE, POINTS, SIZE
from dccnet.runtime.files import sha256_of
from dccnet.runtime.manifest import ENCODER, FRAME, MATCHER, Manifest, TensorSpec

PREPROCESS, MATCHES, POINTS_MODEL = "preprocess", "matches", "points"
ENCODE, MATCH, TRANSFER = "encode", "match", "transfer"
MATCH_REFERENCE, TRANSFER_REFERENCE = "match_reference", "transfer_reference"
_DIGITS = 12
"""Of the digest in a version: 48 bits, which are exact in a JSON number, too."""


@dataclass(frozen=True, slots=True)
class Part:
    """A file of the repository, and what it takes and returns."""

    path: Path
    sha256: str
    backend: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def version_of(digest: str) -> int:
    """Triton's number for a model's content: the first 48 bits of a SHA-256, hexadecimal; at least 1."""
    return max(int(digest[:_DIGITS], 16), 1)


def models_of(
    prefix: str, manifest: Manifest, parts: Mapping[str, Part], placing: Callable[[str], Placing]
) -> list[Model]:
    """Models of the five ``parts`` (by :data:`PREPROCESS`, ``encoder``, …) and the ensembles.

    Their names begin with ``prefix``; ``placing`` says how the model of a part runs.
    """
    height, width = manifest.image_size
    lengths = {"height": height, "width": width, "number": 1}
    singles = {}
    for name, part in parts.items():
        how = placing(name)
        singles[name] = Model(
            name=f"{prefix}_{name}",
            version=version_of(part.sha256),
            inputs=part.inputs,
            outputs=part.outputs,
            backend=part.backend,
            file=f"model{part.path.suffix}",
            placing=how,
            max_batch=how.max_batch,
            lengths=lengths,
        )
    return [*singles.values(), *_ensembles(prefix, singles)]


def _ensembles(prefix: str, singles: Mapping[str, Model]) -> list[Model]:
    features = [spec.name for spec in singles[ENCODER].outputs]

    def encoding(side: str) -> list[Step]:
        """A picture to its features and size; ``side`` is ``_a``, ``_b`` or nothing."""
        frame = FRAME + side
        return [
            _step(singles[PREPROCESS], {PICTURE: PICTURE + side}, {FRAME: frame, SIZE: SIZE + side}),
            _step(singles[ENCODER], {FRAME: frame}, {name: name + side for name in features}),
        ]

    def matching(last: str) -> list[Step]:
        return [_step(singles[MATCHER]), _step(singles[last])]

    kept = [
        *(TensorSpec(f"{spec.name}_a", spec.dtype, spec.shape) for spec in singles[ENCODER].outputs),
        *(spec for spec in singles[MATCHES].inputs if spec.name == f"{SIZE}_a"),
    ]
    (picture,) = singles[PREPROCESS].inputs
    a, b = (TensorSpec(f"{PICTURE}_{side}", picture.dtype, picture.shape) for side in "ab")
    points = [spec for spec in singles[POINTS_MODEL].inputs if spec.name == POINTS]
    size = [spec for spec in singles[PREPROCESS].outputs if spec.name == SIZE]
    both, second = [*encoding("_a"), *encoding("_b")], encoding("_b")
    found, moved = singles[MATCHES].outputs, singles[POINTS_MODEL].outputs

    def ensemble(
        name: str, steps: list[Step], inputs: Iterable[TensorSpec], outputs: Iterable[TensorSpec]
    ) -> Model:
        smallest = min(model.max_batch for model in singles.values())
        steps = _used(steps, {spec.name for spec in outputs})
        whole = Model(
            f"{prefix}_{name}", 0, tuple(inputs), tuple(outputs), steps=tuple(steps), max_batch=smallest
        )
        return _versioned(whole)

    return [
        ensemble(ENCODE, encoding(""), [picture], [*singles[ENCODER].outputs, *size]),
        ensemble(MATCH, [*both, *matching(MATCHES)], [a, b], found),
        ensemble(MATCH_REFERENCE, [*second, *matching(MATCHES)], [*kept, b], found),
        ensemble(TRANSFER, [*both, *matching(POINTS_MODEL)], [a, b, *points], moved),
        ensemble(TRANSFER_REFERENCE, [*second, *matching(POINTS_MODEL)], [*kept, b, *points], moved),
    ]


def _step(
    model: Model, inputs: dict[str, str] | None = None, outputs: dict[str, str] | None = None
) -> Step:
    """A step whose tensors have the model's own names unless others are given."""
    inputs = inputs or {spec.name: spec.name for spec in model.inputs}
    outputs = outputs or {spec.name: spec.name for spec in model.outputs}
    return Step(model.name, model.version, inputs, outputs)


def _used(steps: list[Step], wanted: set[str]) -> list[Step]:
    """The same without outputs that no step and nobody outside takes: Triton then does not compute them."""
    taken = wanted.union(*(step.inputs.values() for step in steps))
    return [
        Step(step.model, step.version, step.inputs, {k: v for k, v in step.outputs.items() if v in taken})
        for step in steps
    ]


def _versioned(ensemble: Model) -> Model:
    content = json.dumps([dataclasses.asdict(step) for step in ensemble.steps], sort_keys=True)
    return dataclasses.replace(ensemble, version=version_of(sha256_of(content.encode())))
