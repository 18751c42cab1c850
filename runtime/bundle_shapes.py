"""The sizes that a bundle's manifest says are those of its graphs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dccnet.runtime.bundle import Bundle
from dccnet.runtime.errors import BundleError


def check_shapes(
    bundle: Bundle, encoder: Mapping[str, Sequence[Any]], matcher: Mapping[str, Sequence[Any]]
) -> None:
    """Compare the manifest with the graphs, or with their engines.

    ``encoder`` and ``matcher`` are the shapes of their inputs and outputs by name, the batch first. Raises
    :class:`BundleError` where sizes differ: matches would lie at wrong places.
    """
    manifest = bundle.manifest
    cells = manifest.grid[0] * manifest.grid[1]
    sizes: list[tuple[str, Mapping[str, Sequence[Any]], slice, tuple[int, ...]]]
    sizes = [("frame", encoder, slice(1, 3), manifest.image_size)]
    sizes += [(name, encoder, slice(2, None), manifest.grid) for name in ("local", "context")]
    sizes += [(name, matcher, slice(1, None), (cells,)) for name in ("index_a", "index_b")]
    for name, graph, part, wanted in sizes:
        found = tuple(graph[name][part]) if name in graph else wanted
        if found != wanted:
            raise BundleError(
                f"{bundle.path} contradicts itself: its manifest says {wanted} for '{name}', its graph "
                f"{found}; export it again"
            )
