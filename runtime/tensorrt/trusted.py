"""Which engines are loaded: those that a bundle's manifest names, and those in the user's own cache.

Loading an engine runs code that it contains. The digest of a manifest covers the hashes of its engines;
a sidecar can be put beside an engine by anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dccnet.runtime.bundle import Bundle
from dccnet.runtime.cuda import Device
from dccnet.runtime.errors import EngineError
from dccnet.runtime.files import sha256_of
from dccnet.runtime.manifest import ENCODER, MATCHER, EngineRecord
from dccnet.runtime.tensorrt.gpu_record import gpu_record
from dccnet.runtime.tensorrt.library import Library
from dccnet.runtime.tensorrt.plan import check_loadable, read_named_plan, read_plan

GRAPHS = (ENCODER, MATCHER)


class Plan(NamedTuple):
    """A plan file that was read."""

    path: Path
    content: bytes
    record: EngineRecord | None
    """None for a trusted plan that neither the manifest nor a sidecar describes."""

    @property
    def sha256(self) -> str:
        """Of the content; it was compared with the record's when the plan was read."""
        return sha256_of(self.content) if self.record is None else self.record.sha256


def _named_engine(bundle: Bundle, name: str, library: Library) -> EngineRecord | None:
    """The manifest's record of the library's engine for the graph ``name``."""
    file = library.engine_file(name)
    for record in bundle.manifest.engines:
        if (record.graph, record.library, record.file) == (name, library.name, file):
            return record
    return None


def require_names(bundle: Bundle, library: Library) -> None:
    """Raises :class:`EngineError` for an engine in the bundle that its manifest does not name.

    Anybody can put an engine and a sidecar that fits into a folder. The user decides about it: it is
    neither loaded nor replaced silently.
    """
    for name in GRAPHS:
        if _named_engine(bundle, name, library) is None:
            raise EngineError(
                f"{bundle.path / library.engine_file(name)} is not named in the bundle's manifest, and "
                "loading an engine runs code that it contains: build it with dcc build, delete it, or pass "
                "--trust-engine if you know where it comes from"
            )


def bundled_plans(paths: Sequence[Path], bundle: Bundle, library: Library, device: Device) -> list[Plan]:
    """Both plans in the bundle: as its manifest names them, else as their sidecars do, else on trust.

    Raises :class:`EngineError` for one that does not fit.
    """
    plans = []
    for name, path in zip(GRAPHS, paths, strict=True):
        named = _named_engine(bundle, name, library)
        if named is None:
            plans.append(Plan(path, *read_plan(path, trust=True)))
        else:
            plans.append(Plan(path, read_named_plan(path, named), named))
    return _fitting(plans, bundle, library, device)


def cached_plans(paths: Sequence[Path], bundle: Bundle, library: Library, device: Device) -> list[Plan]:
    """Both plans in the user's own cache. Raises :class:`EngineError` for one that does not fit."""
    return _fitting([Plan(path, *read_plan(path)) for path in paths], bundle, library, device)


def _fitting(plans: list[Plan], bundle: Bundle, library: Library, device: Device) -> list[Plan]:
    for name, plan in zip(GRAPHS, plans, strict=True):
        check_loadable(plan.path, plan.record, plan.content, library, gpu_record(device))
        graphs = [bundle.manifest.graphs[name]]
        if name == MATCHER:  # of which an engine may have any lowering
            graphs += bundle.manifest.lowerings.values()
        if plan.record is not None and plan.record.onnx_sha256 not in [graph.sha256 for graph in graphs]:
            raise EngineError(f"{plan.path} was built from another {name}: run dcc build again")
    return plans
