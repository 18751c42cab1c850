"""Label Studio's run lengths of brush masks (its format "rle"): bits of runs of bytes, four for each pixel.

32 bits are the number of bytes; 5 the bits of a byte, less one; four times 4 the four lengths of numbers,
less one. Then come runs: one bit that says whether a byte is repeated, two that choose the length of the
number that follows, how many bytes there are, less one, and the byte or the bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dccnet.runtime.annotations.run_lengths import check_size
from dccnet.runtime.geometry import Size

_LENGTHS = (3, 4, 8, 16)  # bits of a run's length; the largest run has 2^16 bytes
_LONGEST = 1 << _LENGTHS[-1]


def encode_brush(mask: NDArray[np.bool_]) -> list[int]:
    """``(H, W)`` -> bytes, as a list for JSON."""
    pixels = mask.ravel()
    changes = np.flatnonzero(np.diff(pixels)) + 1
    starts = np.concatenate([[0], changes])
    bits = [f"{4 * len(pixels):032b}", f"{8 - 1:05b}", *(f"{length - 1:04b}" for length in _LENGTHS)]
    for start, end in zip(starts, [*changes, len(pixels)], strict=True):
        value, left = 255 if pixels[start] else 0, 4 * int(end - start)
        while left:
            run = min(left, _LONGEST)
            choice = next(at for at, length in enumerate(_LENGTHS) if run <= 1 << length)
            bits.append(f"1{choice:02b}{run - 1:0{_LENGTHS[choice]}b}{value:08b}")
            left -= run
    encoded: list[int] = np.packbits(np.frombuffer("".join(bits).encode(), np.uint8) - ord("0")).tolist()
    return encoded


def decode_brush(encoded: Sequence[int], size: Size) -> NDArray[np.bool_]:
    """Bytes -> ``(H, W)``: pixels that are not transparent. Raises ``ValueError`` for other bytes."""
    check_size(size)
    wanted = 4 * size[0] * size[1]
    try:
        bits = np.unpackbits(np.asarray(encoded, np.uint8)).tobytes()
        runs = list(_runs(bits, wanted))
    except (TypeError, OverflowError, IndexError) as error:
        raise ValueError(
            f"a brush mask is no list of bytes of Label Studio's run lengths ({error})"
        ) from None
    values = np.concatenate(runs) if runs else np.zeros(0, np.uint8)
    return np.asarray(values.reshape(-1, 4)[:, 3].reshape(size) > 0, np.bool_)


def _runs(bits: bytes, wanted: int) -> Iterator[NDArray[np.uint8]]:
    at = 0

    def take(count: int) -> int:
        nonlocal at
        if at + count > len(bits):
            raise ValueError("a brush mask is cut off")
        value = 0
        for bit in bits[at : at + count]:
            value = 2 * value + bit
        at += count
        return value

    found = take(32)
    if found != wanted:
        raise ValueError(f"a brush mask has {found // 4} pixels, its picture {wanted // 4}")
    width = take(5) + 1
    lengths = [take(4) + 1 for _ in range(4)]
    done = 0
    while done < wanted:
        repeated = take(1)
        count = take(lengths[take(2)]) + 1
        if done + count > wanted:
            raise ValueError("the runs of a brush mask are longer than its picture")
        done += count
        if repeated:
            yield np.full(count, take(width) & 255, np.uint8)
        else:
            yield np.array([take(width) & 255 for _ in range(count)], np.uint8)
