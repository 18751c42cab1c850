"""The rows of Tables 4 and 5: the paper's methods on any base network, with several context kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dccnet.evaluation.published import ABLATIONS
from dccnet.network.backbone import build_backbone
from dccnet.network.config import PRESETS, ModelConfig
from dccnet.runtime.errors import UsageError
from dccnet.training.ablation.kernels import STAND_FOR

# The paper's name, in the order of Table 4 -> the preset with the same structure.
METHODS = {
    "NC-Net": "ncnet",
    "Baseline+S": "baseline-s",
    "Baseline+SCA": "baseline-sca",
    "Baseline+SAA": "baseline-saa",
    "Baseline+SD": "baseline-sd",
    "Baseline+SDA": "dccnet",
}
STRUCTURE = ("branches", "fusion", "embedding", "auxiliary_loss")
"""The fields in which the methods differ; all others are those of the base."""
TABLES = (4, 5)
KERNEL_METHODS = ("Baseline+S", "Baseline+SDA")
"""Methods whose context kernel Table 5 varies."""
PAPERS_KERNEL = PRESETS["dccnet"].context_kernel


@dataclass(frozen=True, slots=True)
class Row:
    """A network of the tables; a network in both tables is one row."""

    method: str
    model: ModelConfig
    tables: tuple[int, ...]
    kernel: int | None
    """Side of the context's neighbourhood in cells; None without a context branch."""
    published_kernel: int | None
    """The paper's kernel that ``kernel`` replaces."""
    published: float | None
    """The paper's PCK@0.1 on PF-PASCAL; None if the paper does not have this row."""

    @property
    def key(self) -> str:
        """Name of the row's folder."""
        name = self.method.lower().replace("+", "-")
        return name if self.kernel is None else f"{name}-k{self.kernel}"

    @property
    def label(self) -> str:
        return self.method if self.kernel is None else f"{self.method}, kernel {self.kernel}"


def make_rows(base: str, model: ModelConfig, tables: Sequence[int], kernels: Sequence[int]) -> list[Row]:
    """The rows of ``tables`` in order, without repetitions; ``kernels`` are those of Table 5.

    ``model`` is the preset ``base``, possibly with changed fields.
    """
    tables_of: dict[tuple[str, int | None], tuple[int, ...]] = {}

    def add(method: str, kernel: int, table: int) -> None:
        has_context = "context" in PRESETS[METHODS[method]].branches
        key = (method, kernel if has_context else None)
        tables_of[key] = (*tables_of.get(key, ()), table)

    if 4 in tables:
        for method in METHODS:
            add(method, model.context_kernel, 4)
    if 5 in tables:
        add("NC-Net", model.context_kernel, 5)
        for method in KERNEL_METHODS:
            for kernel in sorted(set(kernels)):
                add(method, kernel, 5)
    # A changed base, or one of an earlier version, has another kernel of its own.
    others = {kernel: papers for kernel, papers in STAND_FOR[base].items() if papers != PAPERS_KERNEL}
    papers = others | {model.context_kernel: PAPERS_KERNEL}
    return [
        _row(method, model, where, kernel, None if kernel is None else papers.get(kernel))
        for (method, kernel), where in tables_of.items()
    ]


def in_table(rows: Sequence[Row], number: int) -> list[Row]:
    """The rows of one table, in its order."""
    order = list(METHODS)
    found = [row for row in rows if number in row.tables]
    return sorted(found, key=lambda row: (order.index(row.method), row.kernel or 0))


def default_kernels(base: str, model: ModelConfig) -> tuple[int, ...]:
    """The kernels of Table 5, or their replacements for ``base``, and the model's own."""
    others = {kernel for kernel, papers in STAND_FOR[base].items() if papers != PAPERS_KERNEL}
    return tuple(sorted(others | {model.context_kernel}))


def check_kernels(model: ModelConfig, kernels: Sequence[int]) -> None:
    """Raise :class:`UsageError` for kernels that are even or larger than any neighbourhood."""
    with torch.device("meta"):  # without weights: only the grid is needed
        grid = build_backbone(model.backbone).grid(model.image_size)
    most = 2 * max(grid) - 1
    wrong = [kernel for kernel in kernels if not (0 < kernel <= most and kernel % 2)]
    if wrong:
        raise UsageError(
            f"context kernels {', '.join(map(str, wrong))} do not fit a grid of {grid[0]}x{grid[1]} cells: "
            f"choose odd numbers up to {most} with --kernels"
        )


def _row(
    method: str, base: ModelConfig, tables: tuple[int, ...], kernel: int | None, papers: int | None
) -> Row:
    preset = PRESETS[METHODS[method]]
    model = base.replace(
        **{name: getattr(preset, name) for name in STRUCTURE},
        context_kernel=base.context_kernel if kernel is None else kernel,
    )
    known = kernel is None or papers is not None
    return Row(method, model, tables, kernel, papers, ABLATIONS.get((method, papers)) if known else None)
