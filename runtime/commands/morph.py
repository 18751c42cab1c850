"""``dcc morph``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dccnet.runtime.commands.pair import MACHINE, MODEL, PairOptions, match_pair, pair_options
from dccnet.runtime.option_groups import GroupedCommand
from dccnet.runtime.option_types import Number, Whole

if TYPE_CHECKING:
    from dccnet.runtime.alignment.morph import Morph

_SMALL_RATE, _SMALL_LONGEST = 12.5, 480  # of animated pictures, which compress frames less well
_RATE, _LONGEST = 25.0, 1920
_ANIMATED_BYTES = 2 << 30  # all frames of an animated picture, which is written at once

GROUPS = {
    "Model": MODEL,
    "Film": "--seconds --once --side-by-side --fps --longest",
    "Output": "--output --json",
    "Machine": MACHINE,
}


@click.command(cls=GroupedCommand, groups=GROUPS)
@pair_options
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    help="File to write: .mp4, .webm or .avi; .gif or .webp.",
)
@click.option(
    "--seconds",
    type=Number(0.5, 60),
    default=4.0,
    show_default=True,
    help="How long it takes, from A to B and back.",
)
@click.option("--once", is_flag=True, help="End at B, instead of going back to A and starting again.")
@click.option("--side-by-side", is_flag=True, help="Show A on the left and B on the right, too.")
@click.option(
    "--fps",
    type=Number(1, 120),
    metavar="N",
    help=f"Frames per second.  [default: {_RATE:g}; {_SMALL_RATE:g} in .gif and .webp]",
)
@click.option(
    "--longest",
    type=Whole(16, 7680),
    metavar="N",
    help="Longer side of the frame in pixels, without A and B at its sides.  [default: as large as the "
    f"pictures, up to {_LONGEST}; {_SMALL_LONGEST} in .gif and .webp]",
)
@click.option("--json", "as_json", is_flag=True, help="Print a description as JSON.")
def morph(
    output: Path,
    seconds: float,
    once: bool,
    side_by_side: bool,
    fps: float | None,
    longest: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Turn the picture A into the picture B, as a film.

    \b
    dcc morph cat.jpg tiger.jpg -o morph.mp4
    dcc morph cat.jpg tiger.jpg -o morph.gif --side-by-side
    dcc morph cat.jpg tiger.jpg -o morph.webm --once --seconds 2

    Both pictures move towards each other along a smooth map through the confident matches, while A fades
    into B. With the extra video, .mp4 is H.264, which plays everywhere; without it, VP9. A model comes with
    dcc; --model or, as the first argument, BUNDLE names another one.
    """
    import json

    from dccnet.runtime.alignment.frame import Frame
    from dccnet.runtime.alignment.morph import Morph, MorphSettings
    from dccnet.runtime.console import note
    from dccnet.runtime.errors import UsageError
    from dccnet.runtime.video import h264
    from dccnet.runtime.video.animation import ANIMATED
    from dccnet.runtime.video.writer import CODECS

    suffix = output.suffix.lower()
    if suffix not in (*CODECS, *ANIMATED):
        known = ", ".join((*CODECS, *ANIMATED))
        raise UsageError(f"cannot write a morph as '{output.name}': use a name that ends in {known}")
    small = suffix in ANIMATED
    pair = match_pair(PairOptions(**options), [output])
    if longest is None:
        usual = Frame.around(pair.result.size_a, pair.result.size_b).size
        longest = min(max(usual), _SMALL_LONGEST if small else _LONGEST)
    rate = fps or (_SMALL_RATE if small else _RATE)
    settings = MorphSettings(seconds, rate, longest, not once, side_by_side)
    if suffix == ".mp4" and not h264.available():
        note(h264.ADVICE)
    size, count = _write(output, Morph(pair.result, pair.image_a, pair.image_b, settings))
    note(f"wrote {output}")
    facts = {"file": str(output), "width": size[1], "height": size[0], "frames": count, "fps": rate}
    if as_json:
        click.echo(json.dumps(facts | {"seconds": round(count / rate, 3), "loop": not once}))
    else:
        click.echo(f"{count} frames of {size[1]}x{size[0]} pixels, {count / rate:.3g} seconds")


def _write(output: Path, morphed: Morph) -> tuple[tuple[int, int], int]:
    """Write all frames. Returns the (height, width) of a frame, and their number. Raises
    :class:`UsageError` for an animated picture that would take too much memory."""
    from dccnet.runtime.console import progress_bar
    from dccnet.runtime.errors import UsageError
    from dccnet.runtime.video.animation import ANIMATED, write_animation
    from dccnet.runtime.video.writer import video_writer

    settings, count = morphed.settings, morphed.count
    height, width = morphed.shown_size
    if output.suffix.lower() in ANIMATED and 3 * count * height * width > _ANIMATED_BYTES:
        raise UsageError(
            f"{count} frames of {width}x{height} pixels are too many for {output.suffix}: write .mp4 or "
            ".webm, or choose less with --seconds, --fps or --longest"
        )
    with progress_bar() as progress:
        frames = progress.track(morphed.frames(), total=count, description="drawing")
        if output.suffix.lower() in ANIMATED:
            write_animation(output, list(frames), settings.rate, settings.loop)
        else:
            with video_writer(output, settings.rate) as writer:
                for frame in frames:
                    writer.write(frame)
    return morphed.shown_size, count
