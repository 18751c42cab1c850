"""What Tables 4 and 5 train: the paper's methods on any base network, and the kernels to try."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from dccnet.evaluation.published import ABLATIONS
from dccnet.network.backbone import build_backbone
from dccnet.network.config import PRESETS, ModelConfig
from dccnet.runtime.errors import UsageError
from dccnet.training.ablation.kernels import STAND_FOR

# As the paper calls them, in the order of Table 4 -> the preset whose structure they are.
METHODS = {
    "NC-Net": "ncnet",
    "Baseline+S": "baseline-s",
    "Baseline+SCA": "baseline-sca",
    "Baseline+SAA": "baseline-saa",
    "Baseline+SD": "baseline-sd",
    "Baseline+SDA": "dccnet",
}
STRUCTURE = ("branches", "fusion", "embedding", "auxiliary_loss")
"""The fields in which the methods differ; all others are the base's."""
TABLES = (4, 5)
KERNEL_METHODS = ("Baseline+S", "Baseline+SDA")
"""Whose context kernel Table 5 varies."""
PAPERS_OWN = PRESETS["dccnet"].context_kernel


@dataclass(frozen=True, slots=True)
class Row:
    """A network of the tables; one that is in both is one row."""

    method: str
    model: ModelConfig
    tables: tuple[int, ...]
    kernel: int | None
    """Side of the context's neighbourhood in cells; None without context."""
    published_kernel: int | None
    """The paper's kernel that it stands for."""
    published: float | None
    """The paper's PCK@0.1 on PF-PASCAL, where it has this row."""

    @property
    def key(self) -> str:
        """Name of its folder."""
        name = self.method.lower().replace("+", "-")
        return name if self.kernel is None else f"{name}-k{self.kernel}"

    @property
    def label(self) -> str:
        return self.method if self.kernel is None else f"{self.method}, kernel {self.kernel}"


def make_rows(base: str, model: ModelConfig, tables: Sequence[int], kernels: Sequence[int]) -> list[Row]:
    """The rows of ``tables`` in their order, each once; ``kernels`` are Table 5's.

    ``model`` is the preset ``base``, whose fields may have been changed.
    """
    wanted: dict[tuple[str, int | None], tuple[int, ...]] = {}

    def want(method: str, kernel: int, table: int) -> None:
        has_context = "context" in PRESETS[METHODS[method]].branches
        key = (method, kernel if has_context else None)
        wanted[key] = (*wanted.get(key, ()), table)

    if 4 in tables:
        for method in METHODS:
            want(method, model.context_kernel, 4)
    if 5 in tables:
        want("NC-Net", model.context_kernel, 5)
        for method in KERNEL_METHODS:
            for kernel in sorted(set(kernels)):
                want(method, kernel, 5)
    papers = STAND_FOR[base] | {model.context_kernel: PAPERS_OWN}
    return [
        _row(method, model, where, kernel, None if kernel is None else papers.get(kernel))
        for (method, kernel), where in wanted.items()
    ]


def in_table(rows: Sequence[Row], number: int) -> list[Row]:
    """The rows of one table, in its order."""
    order = list(METHODS)
    found = [row for row in rows if number in row.tables]
    return sorted(found, key=lambda row: (order.index(row.method), row.kernel or 0))


def default_kernels(base: str, model: ModelConfig) -> tuple[int, ...]:
    """The paper's of Table 5, or those that stand for them; the model's own among them."""
    others = {kernel for kernel, papers in STAND_FOR[base].items() if papers != PAPERS_OWN}
    return tuple(sorted(others | {model.context_kernel}))


def check_kernels(model: ModelConfig, kernels: Sequence[int]) -> None:
    """Raises :class:`UsageError` for kernels that are even, or of which a part sees padding everywhere."""
    with torch.device("meta"):  # only the grid is asked for
        grid = build_backbone(model.backbone).grid(model.image_size)
    most = 2 * max(grid) - 1
    wrong = [kernel for kernel in kernels if not (0 < kernel <= most and kernel % 2)]
    if wrong:
        raise UsageError(
            f"context kernels {', '.join(map(str, wrong))} do not fit a grid of {grid[0]}x{grid[1]} cells: "
            f"give odd numbers up to {most} with --kernels"
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
