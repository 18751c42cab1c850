"""Match the newest frame in a thread of its own: a callback must return at once, as in ROS.

python callback_node.py REFERENCE PICTURE...     the pictures stand for a camera's frames

In ROS 2, subscribe with a queue depth of 1, call `on_image` with the header's stamp and the data of a
`bgr8` image as an array (height, width, 3), and let `publish` send your message.
"""

import contextlib
import queue
import sys
import threading
from collections.abc import Callable

from dccnet import DccError, Matcher, PointMatches, read_image


class Node:
    """Follows points of a reference; frames that come while another one is matched replace each other."""

    def __init__(
        self, matcher: Matcher, reference: str, points, publish: Callable[[float, PointMatches], None]
    ) -> None:
        self.matcher, self.points, self.publish = matcher, points, publish
        self.features = matcher.encode(read_image(reference))
        self.newest: queue.Queue = queue.Queue(maxsize=1)
        self.dropped = 0
        self.worker = threading.Thread(target=self._work)
        self.worker.start()

    def on_image(self, stamp: float, image) -> None:
        with contextlib.suppress(queue.Empty):
            self.newest.get_nowait()
            self.dropped += 1
        self.newest.put((stamp, image))

    def _work(self) -> None:
        while (item := self.newest.get()) is not None:
            stamp, image = item
            try:
                found = self.matcher.match(self.features, image).carry(self.points, from_="a")
            except DccError as error:  # the next frame may be a better one
                print(error, file=sys.stderr)
            else:
                self.publish(stamp, found)

    def close(self) -> None:
        self.newest.put(None)  # waits until the last frame is taken
        self.worker.join()


def main(reference: str, *frames: str) -> None:
    with Matcher.open() as matcher:
        node = Node(matcher, reference, [[20, 20]], lambda stamp, found: print(stamp, found.points_b))
        try:
            for stamp, path in enumerate(frames):
                node.on_image(stamp, read_image(path))
        finally:
            node.close()
        print(f"{node.dropped} frames dropped")


if __name__ == "__main__":
    main(*sys.argv[1:])
