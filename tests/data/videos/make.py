"""Makes the videos of this folder, which OpenCV cannot: ``pip install av``, then run this file.

A grey level that rises by 6 with every frame, and noise, so that codecs have something to do.
"""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

HERE = Path(__file__).parent
NOISE = np.random.default_rng(0).integers(0, 12, (48, 64, 3), np.uint8)


def write(name, codec, frames, stamps=None, **options):
    """Frames of 64x48 at 25 per second, or at ``stamps`` in milliseconds."""
    with av.open(str(HERE / name), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(NOISE + np.uint8(6 * number), format="bgr24")
            if stamps is not None:
                frame.pts, frame.time_base = stamps[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


if __name__ == "__main__":
    x264 = {"preset": "veryfast", "crf": "8"}
    write("progressive.mkv", "libx264", 36, g="6", **x264)
    write(
        "interlaced.mp4", "libx264", 8, flags="+ildct+ilme", preset="veryfast", **{"x264-params": "tff=1"}
    )
    write("interlaced.avi", "mpeg2video", 8, flags="+ildct+ilme", top="1")
    stamps = [40 * i for i in range(8)] + [280 + 200 * i for i in range(1, 5)]
    write("variable.mp4", "libx264", 12, stamps, bf="0", **x264)
    write("variable.webm", "libvpx", 12, stamps, crf="10")
    write("av1.mp4", "libsvtav1", 4)
