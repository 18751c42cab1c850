"""The Triton kernels of ``direct.py``, and the functions that launch them.

Triton compiles the kernels when they are first launched. Sums are float32; operands are float16, bfloat16,
or float32 in TF32. Layouts and matrices are those of ``direct_layout.py``.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator, misc"
# ruff: noqa: N803, N806 (constants are upper case)

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from dccnet.network.conv4d.direct_layout import Core, Layout, Sides, four
from dccnet.network.conv4d.direct_tuning import Block, Config
from dccnet.network.precision import tf32_allowed

PARTS = 512
"""About how many blocks share the gradient of a kernel. Fixed, so that results do not depend on the GPU."""


@triton.jit
def _tap_distance(
    column, CHANNELS: tl.constexpr, TAPS: tl.constexpr, STRIDES: tl.constexpr, VECTOR: tl.constexpr
):
    """Distance from a row's first tap to the number that a column multiplies.

    VECTOR is how many numbers are read at once.
    """
    last: tl.constexpr = TAPS[0] * TAPS[1] * TAPS[2] * TAPS[3] - 1
    tap = tl.minimum(column // CHANNELS, last)  # columns after the last are multiplied by zeros
    t4 = tap % TAPS[3]
    t3 = tap // TAPS[3] % TAPS[2]
    t2 = tap // (TAPS[3] * TAPS[2]) % TAPS[1]
    t1 = tap // (TAPS[3] * TAPS[2] * TAPS[1])
    distance = t1 * STRIDES[1] + t2 * STRIDES[2] + t3 * STRIDES[3] + t4 * STRIDES[4] + column % CHANNELS
    return tl.max_contiguous(tl.multiple_of(distance, VECTOR), VECTOR)


@triton.jit
def _blocks(row, CELLS: tl.constexpr, BLOCK: tl.constexpr):
    """Index in the batch, and first cell, of a row's block."""
    n2: tl.constexpr = (CELLS[1] + BLOCK[1] - 1) // BLOCK[1]
    n3: tl.constexpr = (CELLS[2] + BLOCK[2] - 1) // BLOCK[2]
    n1: tl.constexpr = (CELLS[0] + BLOCK[0] - 1) // BLOCK[0]
    d4 = row % CELLS[3]
    d3 = row // CELLS[3] % n3 * BLOCK[2]
    d2 = row // (CELLS[3] * n3) % n2 * BLOCK[1]
    d1 = row // (CELLS[3] * n3 * n2) % n1 * BLOCK[0]
    return row // (CELLS[3] * n3 * n2 * n1), d1, d2, d3, d4


@triton.jit
def _offset(b, d1, d2, d3, d4, STRIDES: tl.constexpr):
    """Offset of a cell; only the part of the batch needs 64 bits."""
    near = d1 * STRIDES[1] + d2 * STRIDES[2] + d3 * STRIDES[3] + d4 * STRIDES[4]
    return tl.multiple_of(b.to(tl.int64) * STRIDES[0] + near, 16)


@triton.jit(do_not_specialize=["rows"])
def _convolve(
    x, w, bias, gate, y, rows,
    CELLS: tl.constexpr, BLOCK: tl.constexpr, TAPS: tl.constexpr, X: tl.constexpr, Y: tl.constexpr,
    GATE: tl.constexpr, X_FIRST: tl.constexpr, Y_FIRST: tl.constexpr, GATE_FIRST: tl.constexpr,
    CIN: tl.constexpr, COUT: tl.constexpr, STEPS: tl.constexpr, ROWS: tl.constexpr, DEEP: tl.constexpr,
    HAS_BIAS: tl.constexpr, RELU: tl.constexpr, GATED: tl.constexpr, VECTOR: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Write ``x`` convolved, plus bias, through a ReLU, to ``y``; or zero where ``gate`` is not positive.

    X, Y and GATE are strides of layouts, TAPS the taps that a whole block sees. ``w`` is
    ``(block x COUT, STEPS x DEEP)``.
    """
    N: tl.constexpr = BLOCK[0] * BLOCK[1] * BLOCK[2] * COUT
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    b, d1, d2, d3, d4 = _blocks(tl.minimum(row, rows - 1), CELLS, BLOCK)
    start = _offset(b, d1, d2, d3, d4, X) + X_FIRST
    n = tl.arange(0, N)
    deep = tl.arange(0, DEEP)
    total = tl.zeros((ROWS, N), tl.float32)
    kernel = w + n[None, :] * (STEPS * DEEP) + deep[:, None]
    for step in range(STEPS):
        distance = _tap_distance(step * DEEP + deep, CIN, TAPS, X, VECTOR)
        seen = tl.load(x + (start[:, None] + distance[None, :]))
        factors = tl.load(kernel + step * DEEP)
        total = tl.dot(seen, factors, total, input_precision=PRECISION)
    channel = n % COUT
    r3 = n // COUT % BLOCK[2]
    r2 = n // (COUT * BLOCK[2]) % BLOCK[1]
    r1 = n // (COUT * BLOCK[2] * BLOCK[1])
    if HAS_BIAS:
        total += tl.load(bias + channel)[None, :]
    if RELU:
        total = tl.where(total <= 0, 0.0, total)  # keeps NaN
    here = (row < rows)[:, None] & (d1[:, None] + r1[None, :] < CELLS[0])
    here &= (d2[:, None] + r2[None, :] < CELLS[1]) & (d3[:, None] + r3[None, :] < CELLS[2])
    if GATED:
        of_gate = _offset(b, d1, d2, d3, d4, GATE) + GATE_FIRST
        beside = r1 * GATE[1] + r2 * GATE[2] + r3 * GATE[3] + channel
        beside = tl.max_contiguous(tl.multiple_of(beside, 16), 16)
        positive = tl.load(gate + of_gate[:, None] + beside[None, :], mask=here, other=0.0) > 0
        total = tl.where(positive, total, 0.0)
    of_y = _offset(b, d1, d2, d3, d4, Y) + Y_FIRST
    beside = r1 * Y[1] + r2 * Y[2] + r3 * Y[3] + channel
    beside = tl.max_contiguous(tl.multiple_of(beside, 16), 16)
    tl.store(y + of_y[:, None] + beside[None, :], total.to(y.dtype.element_ty), mask=here)


@triton.jit(do_not_specialize=["rows", "steps"])
def _correlate(
    x, g, parts, rows, steps,
    CELLS: tl.constexpr, BLOCK: tl.constexpr, TAPS: tl.constexpr, X: tl.constexpr, G: tl.constexpr,
    X_FIRST: tl.constexpr, G_FIRST: tl.constexpr, CIN: tl.constexpr, COUT: tl.constexpr,
    WIDTH: tl.constexpr, COLUMNS: tl.constexpr, DEEP: tl.constexpr, VECTOR: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    """Write what each part of the cells adds to the gradient of ``w``: ``(parts, N, WIDTH)``."""
    N: tl.constexpr = BLOCK[0] * BLOCK[1] * BLOCK[2] * COUT
    part = tl.program_id(1)
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    distance = _tap_distance(column, CIN, TAPS, X, VECTOR)
    n = tl.arange(0, N)
    r3 = n // COUT % BLOCK[2]
    r2 = n // (COUT * BLOCK[2]) % BLOCK[1]
    r1 = n // (COUT * BLOCK[2] * BLOCK[1])
    beside = r1 * G[1] + r2 * G[2] + r3 * G[3] + n % COUT
    beside = tl.max_contiguous(tl.multiple_of(beside, 16), 16)
    deep = tl.arange(0, DEEP)
    total = tl.zeros((N, COLUMNS), tl.float32)
    for step in range(steps):
        row = (part * steps + step) * DEEP + deep
        b, d1, d2, d3, d4 = _blocks(tl.minimum(row, rows - 1), CELLS, BLOCK)
        # After the last row, g is zero and so is its product with x.
        of_g = _offset(b, d1, d2, d3, d4, G) + G_FIRST
        of_x = _offset(b, d1, d2, d3, d4, X) + X_FIRST
        given = tl.load(g + of_g[:, None] + beside[None, :], mask=(row < rows)[:, None], other=0.0)
        seen = tl.load(x + (of_x[:, None] + distance[None, :]))
        total = tl.dot(tl.trans(given), seen, total, input_precision=PRECISION)
    places = (part * N + n[:, None]) * WIDTH + column[None, :]
    tl.store(parts + places, total, mask=(column < WIDTH)[None, :])


@triton.jit(do_not_specialize=["numbers", "xb", "xc", "x1", "x2", "x3", "x4"])
def _spread(
    x, laid, numbers, xb, xc, x1, x2, x3, x4,
    CELLS: tl.constexpr, BEFORE: tl.constexpr, PADDED: tl.constexpr, TAPS: tl.constexpr,
    CHANNELS: tl.constexpr, WIDTH: tl.constexpr, SIGN: tl.constexpr, SIZE: tl.constexpr,
):  # fmt: skip
    """Copy a volume of any strides into a layout, with taps of the last two axes as channels.

    Channels are ``(t3, t4, channel)``. A tap holds the number at its distance from the centre; with
    SIGN -1, in the opposite direction.
    """
    number = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    b = tl.program_id(1).to(tl.int64)
    column = number % WIDTH
    cell = number // WIDTH
    d4 = cell % PADDED[3] - BEFORE[3]
    d3 = cell // PADDED[3] % PADDED[2] - BEFORE[2]
    d2 = cell // (PADDED[3] * PADDED[2]) % PADDED[1] - BEFORE[1]
    d1 = cell // (PADDED[3] * PADDED[2] * PADDED[1]) - BEFORE[0]
    channel = column % CHANNELS
    tap = column // CHANNELS
    here = (number < numbers) & (tap < TAPS[0] * TAPS[1])
    # Zeros around the cells are zeros in all channels, even where a tap would reach back into the cells.
    here &= (d1 >= 0) & (d1 < CELLS[0]) & (d2 >= 0) & (d2 < CELLS[1])
    here &= (d3 >= 0) & (d3 < CELLS[2]) & (d4 >= 0) & (d4 < CELLS[3])
    e3 = d3 + SIGN * (tap // TAPS[1] - TAPS[0] // 2)
    e4 = d4 + SIGN * (tap % TAPS[1] - TAPS[1] // 2)
    here &= (e3 >= 0) & (e3 < CELLS[2]) & (e4 >= 0) & (e4 < CELLS[3])
    places = b * xb + channel.to(tl.int64) * xc + d1.to(tl.int64) * x1 + d2 * x2 + e3 * x3 + e4 * x4
    found = tl.load(x + places, mask=here, other=0.0)
    tl.store(laid + b * numbers + number, found.to(laid.dtype.element_ty), mask=number < numbers)


@triton.jit(do_not_specialize=["numbers"])
def _fold(
    laid, bias, y, numbers,
    CELLS: tl.constexpr, STRIDES: tl.constexpr, FIRST: tl.constexpr, TAPS: tl.constexpr,
    CHANNELS: tl.constexpr, SIGN: tl.constexpr, HAS_BIAS: tl.constexpr, RELU: tl.constexpr,
    SIZE: tl.constexpr,
):  # fmt: skip
    """Add up the taps of the last two axes into ``(B, C, D1, D2, D3, D4)``: the transpose of
    :func:`_spread` with the opposite SIGN. ``numbers`` counts those of one volume.
    """
    number = tl.program_id(0) * SIZE + tl.arange(0, SIZE)
    b = tl.program_id(1).to(tl.int64)
    d4 = number % CELLS[3]
    d3 = number // CELLS[3] % CELLS[2]
    d2 = number // (CELLS[3] * CELLS[2]) % CELLS[1]
    d1 = number // (CELLS[3] * CELLS[2] * CELLS[1]) % CELLS[0]
    channel = number // (CELLS[3] * CELLS[2] * CELLS[1] * CELLS[0])
    start = b * STRIDES[0] + d1 * STRIDES[1] + d2 * STRIDES[2] + FIRST + channel
    total = tl.zeros((SIZE,), tl.float32)
    for tap in tl.static_range(TAPS[0] * TAPS[1]):
        e3 = d3 + SIGN * (tap // TAPS[1] - TAPS[0] // 2)
        e4 = d4 + SIGN * (tap % TAPS[1] - TAPS[1] // 2)
        here = (number < numbers) & (e3 >= 0) & (e3 < CELLS[2]) & (e4 >= 0) & (e4 < CELLS[3])
        places = start + e3 * STRIDES[3] + e4 * STRIDES[4] + tap * CHANNELS
        total += tl.load(laid + places, mask=here, other=0.0).to(tl.float32)
    if HAS_BIAS:
        total += tl.load(bias + channel)
    if RELU:
        total = tl.where(total <= 0, 0.0, total)
    tl.store(y + b * numbers + number, total.to(y.dtype.element_ty), mask=number < numbers)


# Launching --------------------------------------------------------------------------------------


def convolve(
    x: Tensor, source: Layout, factors: Tensor, core: Core, config: Config, y: Tensor, target: Layout,
    bias: Tensor | None = None, relu: bool = False, gate: Tensor | None = None, gates: Layout | None = None,
) -> None:  # fmt: skip
    """Write the convolution of ``x`` (layout ``source``) to the cells of ``y`` (layout ``target``).

    ``gate`` (layout ``gates``), if given, sets results to zero where it is not positive. The zeros around
    the cells of ``y`` are left as they are.
    """
    assert source.has_room_for(core.taps, config.block), "the kernel reaches beyond the volume's zeros"
    assert source.channels == core.channels_in and target.channels == core.channels_out
    assert source.cells == target.cells and (gates is None or gates.channels == core.channels_out)
    rows = source.batch * _count_blocks(source.cells, config.block)
    gates = gates or target
    _convolve[(triton.cdiv(rows, config.tile),)](
        x, factors, x if bias is None else bias, x if gate is None else gate, y, rows,
        source.cells, config.block, _seen_taps(core.taps, config.block), source.strides, target.strides,
        gates.strides, source.offset([-(k // 2) for k in core.taps]), target.offset(), gates.offset(),
        core.channels_in, core.channels_out, factors.shape[1] // config.deep, config.tile, config.deep,
        bias is not None, relu, gate is not None, _vector(x, config.cached), _precision(x),
        num_warps=config.warps, num_stages=config.stages,
    )  # fmt: skip


def correlate(
    x: Tensor, source: Layout, g: Tensor, given: Layout, core: Core, width: int, config: Config
) -> Tensor:
    """Gradient of the matrix of factors, ``(columns, width)`` float32.

    ``g`` (layout ``given``) is the gradient of the results of :func:`convolve` for the input ``x`` (layout
    ``source``). Parts are added up in a fixed order, so that results are the same in every run.
    """
    block = config.block
    assert source.has_room_for(core.taps, block) and given.has_room_for((1, 1, 1, 1), block)
    assert source.channels == core.channels_in and given.channels == core.channels_out
    rows = source.batch * _count_blocks(source.cells, block)
    products, tiles = triton.cdiv(rows, config.deep), triton.cdiv(width, config.tile)
    steps = triton.cdiv(products, max(1, min(products, round(PARTS / tiles))))
    parts = triton.cdiv(products, steps)
    found = x.new_empty((parts, config.columns(core.channels_out), width), dtype=torch.float32)
    _correlate[(tiles, parts)](
        x, g, found, rows, steps, source.cells, block, _seen_taps(core.taps, block), source.strides,
        given.strides, source.offset([-(k // 2) for k in core.taps]), given.offset(), core.channels_in,
        core.channels_out, width, config.tile, config.deep, _vector(x, config.cached), _precision(x),
        num_warps=config.warps, num_stages=config.stages,
    )  # fmt: skip
    return found.sum(0)


def spread(c: Tensor, target: Layout, taps: tuple[int, int], dtype: torch.dtype, sign: int = 1) -> Tensor:
    """``(B, C, D1, D2, D3, D4)`` of any strides -> the layout ``target``, with ``taps`` as channels."""
    laid = c.new_empty((target.batch, *target.padded, target.channels), dtype=dtype)
    size = 1024
    _spread[(triton.cdiv(target.volume, size), target.batch)](
        c, laid, target.volume, *c.stride(), target.cells, target.before, target.padded, taps, c.shape[1],
        target.channels, sign, size,
    )  # fmt: skip
    return laid


def fold(
    laid: Tensor, source: Layout, channels: int, taps: tuple[int, int], dtype: torch.dtype, sign: int = 1,
    bias: Tensor | None = None, relu: bool = False,
) -> Tensor:  # fmt: skip
    """The layout ``source`` -> ``(B, channels, D1, D2, D3, D4)``: the sum over ``taps``."""
    y = laid.new_empty((source.batch, channels, *source.cells), dtype=dtype)
    size, numbers = 256, y[0].numel()
    _fold[(triton.cdiv(numbers, size), source.batch)](
        laid, laid if bias is None else bias, y, numbers, source.cells, source.strides, source.offset(),
        taps, channels, sign, bias is not None, relu, size,
    )  # fmt: skip
    return y


def _vector(x: Tensor, cached: bool) -> int:
    return (8 if cached else 16) // x.element_size()


def _precision(x: Tensor) -> str:
    return "ieee" if x.dtype == torch.float32 and not tf32_allowed() else "tf32"


def _seen_taps(taps: Sides, block: Block) -> Sides:
    """Taps that a whole block sees."""
    return four([k + r - 1 for k, r in zip(taps, (*block, 1), strict=True)])


def _count_blocks(cells: Sequence[int], block: Block) -> int:
    return math.prod(math.ceil(n / r) for n, r in zip(cells, (*block, 1), strict=True))
