"""Turn a picture into another one: a short animation, mirrored first if they face opposite ways.

python morph.py A B OUT.gif|OUT.webp
"""

import sys
from pathlib import Path

from dccnet import Matcher, read_image
from dccnet.runtime.alignment.morph import Morph, MorphSettings
from dccnet.runtime.video.animation import write_animation


def main(a: str, b: str, output: str) -> None:
    first, second = read_image(a), read_image(b)
    with Matcher.open(mirror="auto") as matcher:
        result = matcher.match(first, second)
    settings = MorphSettings(seconds=2, rate=10, longest=240)
    frames = list(Morph(result, first, second, settings).frames())
    write_animation(Path(output), frames, settings.rate)
    print(f"{output}: {len(frames)} frames{', a is mirrored' if result.mirrored else ''}")


if __name__ == "__main__":
    main(*sys.argv[1:])
