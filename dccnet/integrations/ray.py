"""Lists of many pairs on many machines, with Ray: ``dcc match --pairs LIST --ray ADDRESS`` from Python."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dccnet.runtime.bulk.match_pairs import job_of
from dccnet.runtime.bulk.on_ray import LOCAL, WINDOW, Workers, run_on_ray
from dccnet.runtime.bulk.run import Summary
from dccnet.runtime.matcher import check_refinement
from dccnet.runtime.models.names import DEFAULT, open_bundle
from dccnet.runtime.views.choices import Mirror
from dccnet.runtime.views.ways import as_ways

__all__ = ["LOCAL", "WINDOW", "Summary", "match_pairs"]


def match_pairs(
    pairs: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    model: str = DEFAULT,
    address: str = LOCAL,
    workers: int | None = None,
    cpus: int = 1,
    gpus: float = 0.0,
    backend: str = "auto",
    device: str = "auto",
    refine: bool | None = None,
    mirror: Mirror = False,
    views: int = 1,
    window: int = WINDOW,
    restart: bool = False,
    on_start: Callable[[int, int], None] = lambda done, total: None,
    on_pairs: Callable[[int], None] = lambda count: None,
    on_note: Callable[[str], None] = lambda text: None,
    **settings: Any,
) -> Summary:
    """Match every pair of a list on the Ray cluster at ``address`` (docs/scale.md).

    Every machine has dcc and the ``model``, a name or a path, and sees the list, the pictures and the
    folder ``output`` under the same paths. ``workers`` processes with ``cpus`` cores and ``gpus`` GPUs each
    (a part of one, if several share it) do windows of ``window`` pairs; by default, as many as fit. What is
    lost with a machine is made again elsewhere. Other settings, results and errors are those of
    :func:`dccnet.runtime.bulk.match_pairs.match_pairs`.
    """
    manifest = open_bundle(model, on_note).manifest
    check_refinement(manifest, refine)
    job = job_of(
        manifest,
        pairs,
        output,
        refine=manifest.fine is not None if refine is None else refine,
        ways=as_ways(mirror, views),
        window=window,
        **settings,
    )
    options = {"backend": backend, "device": device, "threads": cpus}
    options |= {"refine": refine, "mirror": mirror, "views": views}
    if Path(model).exists():
        model = str(Path(model).absolute())  # on a cluster, workers run in other folders
    taken = Workers(model, options, workers, cpus, gpus)
    return run_on_ray(
        job, address, taken, restart=restart, on_start=on_start, on_pairs=on_pairs, on_note=on_note
    )
