"""Matches pictures with a Triton server that runs a repository of dcc export-triton.

Needs nothing of dcc:

    pip install 'tritonclient[http,grpc]' numpy opencv-python-headless
    python client.py match a.jpg b.jpg
    python client.py match a.jpg b.jpg c.jpg --grpc --url localhost:8001
    python client.py transfer a.jpg b.jpg --point 120,80 --point 40,200

Prints a line of JSON for each picture after the first, A. Pixels are (x, y), 0-based, x right, y down.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Tensors = dict[str, NDArray[Any]]
Picture = NDArray[np.uint8]
"""``(H, W, 3)``, BGR, as OpenCV reads it."""


class ClientError(Exception):
    """What the server or the client cannot do, in a sentence."""


class Client:
    """A connection to a server. Not for several threads at once: make one for each."""

    def __init__(
        self, url: str | None = None, *, grpc: bool = False, name: str = "dcc", timeout: float = 60
    ) -> None:
        """``url`` is host:port, by default localhost with Triton's own port of the protocol. ``name`` is
        that of dcc export-triton, ``timeout`` in seconds. Raises :class:`ClientError`."""
        try:
            if grpc:
                import tritonclient.grpc as protocol
            else:
                import tritonclient.http as protocol
            from tritonclient.utils import np_to_triton_dtype
        except ImportError as error:
            raise ClientError(f"{error.name} is missing: pip install 'tritonclient[http,grpc]'") from error
        self._protocol, self._dtype_of, self._grpc = protocol, np_to_triton_dtype, grpc
        self.name, self.url, self._timeout = name, url or f"localhost:{8001 if grpc else 8000}", timeout
        limits = {} if grpc else {"connection_timeout": timeout, "network_timeout": timeout}
        self._client: Any = self._asked(protocol.InferenceServerClient, self.url, **limits)
        self._outputs: dict[str, list[str]] = {}

    def close(self) -> None:
        self._client.close()

    def encode(self, picture: Picture) -> Tensors:
        """Features of a picture, to match it many times: a few megabytes, which the client keeps."""
        return self._infer("encode", {"picture": _batch_of(picture)})

    def match(self, a: Picture | Tensors, b: Picture) -> Tensors:
        """Matches of A, a picture or its features, with B.

        Returns, for each of the n cells of A: ``points_a`` and ``points_b`` ``(n, 2)`` in pixels,
        ``scores`` ``(n,)``, ``mutual`` ``(n,)``: whether the match in B has this cell as its own best
        match, ``mutual_scores``, which have a meaning only there, and, if the bundle has one,
        ``confidence``.
        """
        return _first(self._infer(*self._pair("match", a, b)))

    def transfer(self, a: Picture | Tensors, b: Picture, points: ArrayLike) -> Tensors:
        """Where ``points`` ``(N, 2)`` of A lie in B: ``points_b`` ``(N, 2)``, ``scores`` ``(N,)`` and, if
        the bundle has one, ``confidence`` ``(N,)``. Raises :class:`ClientError` for points outside A."""
        given = np.asarray(points, np.float64)
        if given.ndim != 2 or given.shape[1] != 2 or not len(given) or not np.isfinite(given).all():
            raise ClientError(
                f"points must be finite numbers of shape (N, 2), at least one, got {given.shape}"
            )
        height, width = a["size"][0] if isinstance(a, Mapping) else a.shape[:2]
        if ((given < -1) | (given > [width, height])).any():
            raise ClientError(f"a point lies outside the picture A of {width}x{height} pixels")
        model, inputs = self._pair("transfer", a, b)
        return _first(self._infer(model, inputs | {"points": given[None]}))

    def _pair(self, model: str, a: Picture | Tensors, b: Picture) -> tuple[str, Tensors]:
        second = {"picture_b": _batch_of(b)}
        if isinstance(a, Mapping):
            return f"{model}_reference", {f"{name}_a": value for name, value in a.items()} | second
        return model, {"picture_a": _batch_of(a)} | second

    def _infer(self, model: str, inputs: Tensors) -> Tensors:
        model = f"{self.name}_{model}"
        given = []
        for name, value in inputs.items():
            tensor = self._protocol.InferInput(name, list(value.shape), self._dtype_of(value.dtype))
            tensor.set_data_from_numpy(np.ascontiguousarray(value))
            given.append(tensor)
        names = self._output_names(model)
        wanted = [self._protocol.InferRequestedOutput(name) for name in names]
        limit = {"client_timeout": self._timeout} if self._grpc else {}
        answer = self._asked(self._client.infer, model, given, outputs=wanted, **limit)
        outputs = {name: answer.as_numpy(name) for name in names}
        for name, value in outputs.items():
            if value is None:
                raise ClientError(f"{self.url} answered without {name}: is {model} a model of dcc?")
            if value.dtype.kind == "f" and not np.isfinite(value).all():
                raise ClientError(f"{model} computed {name} that are not finite")
        return outputs

    def _output_names(self, model: str) -> list[str]:
        if model not in self._outputs:
            if not self._asked(self._client.is_model_ready, model):
                raise ClientError(
                    f"{self.url} has no model {model} that is ready: look at the server's log"
                )
            metadata = self._asked(self._client.get_model_metadata, model)
            outputs = metadata.outputs if self._grpc else metadata["outputs"]
            self._outputs[model] = [output.name if self._grpc else output["name"] for output in outputs]
        return self._outputs[model]

    def _asked(self, function: Any, *arguments: Any, **options: Any) -> Any:
        """The function's result; what it raises becomes a :class:`ClientError`."""
        try:
            return function(*arguments, **options)
        except Exception as error:  # the libraries' errors share no base class
            raise ClientError(f"{self.url}: {str(error).strip() or type(error).__name__}") from error


def read_picture(path: str) -> Picture:
    """A picture with its EXIF orientation applied. Raises :class:`ClientError`."""
    image = cv2.imread(path, cv2.IMREAD_COLOR)
    if image is None:
        raise ClientError(f"{path} does not exist or is no picture that OpenCV can read")
    return np.asarray(image, np.uint8)


def _batch_of(picture: Picture) -> Picture:
    if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ClientError(f"a picture must be uint8 (H, W, 3) BGR, got {picture.dtype} {picture.shape}")
    return picture[None]


def _first(tensors: Tensors) -> Tensors:
    return {name: value[0] for name, value in tensors.items()}


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    text = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=text)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, line in (("match", "mutual matches of A with each B"), ("transfer", "points of A in each B")):
        command = commands.add_parser(name, help=line)
        command.add_argument("a", metavar="A", help="picture, encoded once if there are several B")
        command.add_argument("b", metavar="B", nargs="+", help="pictures to match it with")
        command.add_argument("--url", help="host:port of the server [default: localhost:8000, gRPC: 8001]")
        command.add_argument("--grpc", action="store_true", help="use gRPC instead of HTTP")
        command.add_argument("--name", default="dcc", help="--name of dcc export-triton [default: dcc]")
        command.add_argument("--timeout", type=float, default=60, help="seconds [default: 60]")
        if name == "transfer":
            command.add_argument(
                "--point", action="append", required=True, metavar="X,Y", help="in pixels of A"
            )
    return parser.parse_args(arguments)


def _points(texts: Sequence[str]) -> list[list[float]]:
    try:
        points = [[float(number) for number in text.split(",")] for text in texts]
    except ValueError:
        points = []
    if not all(len(point) == 2 for point in points) or not points:
        raise ClientError("a point is X,Y in pixels, such as 120,80")
    return points


def _run(given: argparse.Namespace) -> None:
    points = _points(given.point) if given.command == "transfer" else None
    first = read_picture(given.a)
    client = Client(given.url, grpc=given.grpc, name=given.name, timeout=given.timeout)
    a: Picture | Tensors = client.encode(first) if len(given.b) > 1 else first
    for path in given.b:
        second = read_picture(path)
        if points is None:
            found = client.match(a, second)
            kept = found.pop("mutual").astype(bool)
            found["scores"] = found.pop("mutual_scores")
            found = {name: value[kept] for name, value in found.items()}
        else:
            found = {"points_a": np.asarray(points), **client.transfer(a, second, points)}
        lists = {name: value.tolist() for name, value in found.items()}
        print(json.dumps({"a": given.a, "b": path} | lists), flush=True)
    client.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns its exit code: 1 for what fails."""
    try:
        _run(_parse(arguments))
    except ClientError as error:
        print(f"client.py: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
