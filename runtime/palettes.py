"""PNG files with a palette, such as the masks of DAVIS and PASCAL VOC: their labels instead of colours."""

from __future__ import annotations

from dccnet.runtime.picture_formats import PNG, as_png, png_chunks

Palette = tuple[tuple[bytes, bytes], ...]
"""The chunks ``PLTE`` and ``tRNS`` of a PNG file: kind and content."""

_COLOUR_TYPE, _GREY, _INDEXED = 9, 0, 3  # place in IHDR; values


def as_grey(png: bytes) -> tuple[bytes, Palette, int] | None:
    """The same file with indices as grey levels, its palette, and the step between two levels.

    None for a file without a palette.
    """
    chunks = list(png_chunks(png)) if png.startswith(PNG) else []
    if not chunks or len(chunks[0][1]) != 13 or chunks[0][1][_COLOUR_TYPE] != _INDEXED:
        return None
    header = bytearray(chunks[0][1])
    bits = header[8]
    header[_COLOUR_TYPE] = _GREY
    palette = tuple(chunk for chunk in chunks if chunk[0] in (b"PLTE", b"tRNS"))
    kept = [chunk for chunk in chunks[1:] if chunk[0] in (b"IDAT", b"IEND")]
    return as_png([(b"IHDR", bytes(header)), *kept]), palette, 255 // ((1 << bits) - 1)


def with_palette(png: bytes, palette: Palette) -> bytes:
    """A file of grey levels of 8 bits, as OpenCV writes it, with ``palette``."""
    (kind, content), *rest = png_chunks(png)
    header = bytearray(content)
    header[_COLOUR_TYPE] = _INDEXED
    data = [chunk for chunk in rest if chunk[0] in (b"IDAT", b"IEND")]
    return as_png([(kind, bytes(header)), *palette, *data])
