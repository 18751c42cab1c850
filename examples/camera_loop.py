"""Follow points of a reference picture through a camera or a video.

python camera_loop.py REFERENCE SOURCE "X,Y; X,Y"     SOURCE is a video file, or a camera's number
"""

import sys

import cv2

from dccnet import Matcher, read_image


def main(reference: str, source: str, places: str) -> None:
    points = [[float(number) for number in place.split(",")] for place in places.split(";")]
    camera = cv2.VideoCapture(int(source) if source.isdecimal() else source)
    if not camera.isOpened():
        sys.exit(f"OpenCV cannot open {source}")
    with Matcher.open() as matcher:
        features = matcher.encode(read_image(reference))  # once
        while True:
            success, frame = camera.read()  # (H, W, 3) uint8 BGR
            if not success:
                break
            found = matcher.match(features, frame).carry(points, from_="a")
            for (x, y), confidence in zip(found.points_b, found.confidence, strict=True):
                print(f"{x:.1f},{y:.1f} {confidence:.2f}", end="  ")
            print()


if __name__ == "__main__":
    main(*sys.argv[1:])
