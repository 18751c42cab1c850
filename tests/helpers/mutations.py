"""Damaged copies of a file's content, of the kinds that disks, networks, editors and attackers make."""

from __future__ import annotations

import random
import re
from collections.abc import Callable

NUMBERS = (
    "-1", "0", "1e400", "-1e300", "NaN", "Infinity", "99999999999999999999", "2147483648", "0.5", "true",
)  # fmt: skip
TEXTS = ('""', "null", "[]", "{}", '"\\u0000"', '"../../x"', "[/b]", "é", "\ufeff", "\x00", ",,,,", '"' * 3)
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")
_WORD = re.compile(rb'"[^"\\]*"|[^,\n\s]+')


def mutate(content: bytes, rng: random.Random) -> bytes:
    """The content after one to three damages; they differ for every state of ``rng``."""
    for _ in range(rng.randint(1, 3)):
        content = rng.choice(_DAMAGES)(content, rng)
    return content


def mutate_text(content: bytes, rng: random.Random) -> bytes:
    """As :func:`mutate`, mostly with damages that keep JSON or CSV well formed."""
    for _ in range(rng.randint(1, 2)):
        content = rng.choice(_TEXT_DAMAGES)(content, rng)
    return content


def _flip_bits(content: bytes, rng: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(rng.randint(1, 8) if data else 0):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def _truncate(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _zero(content: bytes, rng: random.Random) -> bytes:
    """As a download that was interrupted leaves blocks of zeros."""
    first, length = _span(content, rng)
    return content[:first] + bytes(length) + content[first + length :]


def _remove(content: bytes, rng: random.Random) -> bytes:
    first, length = _span(content, rng)
    return content[:first] + content[first + length :]


def _repeat(content: bytes, rng: random.Random) -> bytes:
    first, length = _span(content, rng)
    return content[: first + length] + content[first:]


def _insert(content: bytes, rng: random.Random) -> bytes:
    first = rng.randrange(len(content) + 1)
    return content[:first] + rng.randbytes(rng.randint(1, 64)) + content[first:]


def _large_numbers(content: bytes, rng: random.Random) -> bytes:
    """Four or eight bytes become a length that no file has; mostly in the header."""
    first = rng.randrange(min(len(content), 256) or 1)
    width = rng.choice((4, 8))
    return content[:first] + b"\xff" * (width - 1) + b"\x7f" + content[first + width :]


def _other_number(content: bytes, rng: random.Random) -> bytes:
    return _replace(content, _NUMBER, rng.choice(NUMBERS), rng)


def _other_word(content: bytes, rng: random.Random) -> bytes:
    return _replace(content, _WORD, rng.choice((*TEXTS, *NUMBERS)), rng)


def _remove_line(content: bytes, rng: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    if lines:
        del lines[rng.randrange(len(lines))]
    return b"".join(lines)


def _nest(content: bytes, rng: random.Random) -> bytes:
    depth = rng.choice((10, 100_000))
    return _replace(content, _WORD, "[" * depth + "]" * depth, rng)


def _replace(content: bytes, pattern: re.Pattern[bytes], text: str, rng: random.Random) -> bytes:
    places = [match.span() for match in pattern.finditer(content)]
    if not places:
        return content + text.encode()
    first, end = rng.choice(places)
    return content[:first] + text.encode() + content[end:]


def _span(content: bytes, rng: random.Random) -> tuple[int, int]:
    first = rng.randrange(len(content) + 1)
    return first, min(rng.choice((1, 16, 512, 65536)), len(content) - first)


_Damage = Callable[[bytes, random.Random], bytes]
_DAMAGES: tuple[_Damage, ...] = (_flip_bits, _truncate, _zero, _remove, _repeat, _insert, _large_numbers)
_TEXT_DAMAGES: tuple[_Damage, ...] = (
    *(_other_number, _other_word) * 4, _remove_line, _nest, _flip_bits, _truncate, _zero, _repeat,
)  # fmt: skip
