"""A backend for Label Studio (its "ML backend" API): predictions for the pictures of a project.

    python -m dccnet.integrations.label_studio annotated.json --root photos --port 9090

Label Studio is told the address http://127.0.0.1:9090. Pictures are read below ``--root``, which is the
folder of Label Studio's local files; nothing else on the disk can be asked for, and no address is fetched.
The server has no password: it listens on this machine only, unless ``--host`` says otherwise.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import click

from dccnet.runtime.annotations.fields import parse_xml
from dccnet.runtime.annotations.label_studio import path_of
from dccnet.runtime.annotations.label_studio_writing import results_of
from dccnet.runtime.console import note, warn
from dccnet.runtime.errors import DccError, ImageError, UsageError
from dccnet.runtime.images import read_image
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.models.option import choose_model, model_option
from dccnet.runtime.option_types import Number, Whole
from dccnet.runtime.propagate.annotator import Annotator
from dccnet.runtime.reading import parse_json

LARGEST_REQUEST = 8 << 20
"""Bytes of a request's body."""
MOST_TASKS = 1000
"""Tasks in one request."""
TIMEOUT_S = 30.0
"""Seconds that a client may take to send its request."""
_CONTROLS = {
    "KeyPointLabels": "keypointlabels",
    "RectangleLabels": "rectanglelabels",
    "BrushLabels": "brushlabels",
}
_VARIABLE = re.compile(r"\$([\w.-]+)")


class Backend:
    """Answers the requests of Label Studio, whatever server they come through."""

    def __init__(self, annotator: Annotator, root: Path, version: str) -> None:
        """Pictures are read below ``root``. ``version`` is what Label Studio shows with a prediction."""
        self._annotator, self._root, self.version = annotator, root.resolve(), version

    def health(self) -> dict[str, Any]:
        return {"status": "UP", "model_class": "dcc", "v2": "1"}

    def setup(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Raises ``ValueError`` for a labelling configuration that is no XML."""
        schema = request.get("schema")
        if isinstance(schema, str) and schema.strip():
            controls_of(schema)
        return {"model_version": self.version}

    def predict(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """A prediction for each task; an empty one for a task whose picture cannot be read.

        Raises ``ValueError`` for a request that is none.
        """
        tasks = request.get("tasks")
        if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
            raise ValueError("'tasks' must be a list of objects")
        if len(tasks) > MOST_TASKS:
            raise ValueError(f"there are {len(tasks)} tasks in one request, more than {MOST_TASKS}")
        config = request.get("label_config")
        hints = controls_of(config) if isinstance(config, str) and config.strip() else {}
        return {"results": [self._prediction(task, hints) for task in tasks], "model_version": self.version}

    def _prediction(self, task: Mapping[str, Any], hints: dict[str, str]) -> dict[str, Any]:
        empty: dict[str, Any] = {"result": [], "score": 0.0, "model_version": self.version}
        data = task.get("data")
        address = data.get(hints.get("data", "image")) if isinstance(data, dict) else None
        try:
            if not isinstance(address, str):
                raise ImageError(f"task {task.get('id')} has no '{hints.get('data', 'image')}'")
            path = self._inside(address)
            picture = self._annotator.annotate(read_image(path), str(task.get("id", path.name)))
        except DccError as error:
            warn(str(error))
            return empty
        known = dataclasses.replace(
            self._annotator.annotations(picture), hints={**self._annotator.hints, **hints}
        )
        result = results_of(picture, known)
        if hints:  # a prediction with a control that the project lacks is refused as a whole
            result = [one for one in result if f"from_name:{one['type']}" in hints]
        return empty | {"result": result, "score": round(float(picture.confidence or 0.0), 4)}

    def _inside(self, address: str) -> Path:
        """The file below the root that an address of Label Studio means. Raises :class:`ImageError`."""
        try:
            parts, name = urlsplit(address), path_of(address).lstrip("/")
        except ValueError as error:
            raise ImageError(f"{address!r} is no address: {error}") from None
        if parts.scheme and "/data/local-files/" not in parts.path:
            raise ImageError(
                f"{parts.scheme}: addresses are not fetched: serve local files from {self._root}"
            )
        try:
            path = (self._root / name).resolve()
            inside = path.is_relative_to(self._root) and path.is_file()
        except (OSError, ValueError):  # a name that no file system has
            inside = False
        if not inside:
            raise ImageError(f"{name!r} is no picture below {self._root}")
        return path


def controls_of(config: str) -> dict[str, str]:
    """From a labelling configuration: the names of the controls of each type, of the picture, and of its
    key in a task's data. Raises ``ValueError``."""
    found: dict[str, str] = {}
    for tag in parse_xml(config, "the labelling configuration").iter():
        if tag.tag in _CONTROLS:
            found.setdefault(f"from_name:{_CONTROLS[tag.tag]}", tag.get("name", ""))
            found.setdefault("to_name", tag.get("toName", "image"))
        variable = _VARIABLE.match(tag.get("value", "")) if tag.tag == "Image" else None
        if variable is not None:
            found.setdefault("data", variable[1])
    return found


class _Handler(BaseHTTPRequestHandler):
    backend: ClassVar[Backend]
    timeout = TIMEOUT_S

    def do_GET(self) -> None:
        path = urlsplit(self.path).path.rstrip("/")
        if path in ("", "/health"):
            self._answer(HTTPStatus.OK, self.backend.health())
        else:
            self._answer(HTTPStatus.NOT_FOUND, {"error": "not found"})

    def do_POST(self) -> None:
        answers: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "/predict": self.backend.predict,
            "/setup": self.backend.setup,
            "/validate": lambda request: {"status": "ok"},
            "/webhook": lambda request: {},  # what is annotated is given to dcc as a file
            "/train": lambda request: {},
        }
        answer = answers.get(urlsplit(self.path).path.rstrip("/"))
        if answer is None:
            self._answer(HTTPStatus.NOT_FOUND, {"error": "not found"})
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            self._answer(HTTPStatus.LENGTH_REQUIRED, {"error": "a request says its Content-Length"})
        elif int(length) > LARGEST_REQUEST:
            self.close_connection = True  # the body is not read
            self._answer(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": f"more than {LARGEST_REQUEST} bytes"}
            )
        else:
            self._answered(answer, self.rfile.read(int(length)))

    def _answered(self, answer: Callable[[Mapping[str, Any]], dict[str, Any]], body: bytes) -> None:
        try:
            request = parse_json(body)
            if not isinstance(request, dict):
                raise ValueError("a request is an object of JSON")
            found = answer(request)
        except ValueError as error:  # also of bytes that are no text
            self._answer(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        except DccError as error:
            warn(str(error))
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": str(error)})
        else:
            self._answer(HTTPStatus.OK, found)

    def _answer(self, status: HTTPStatus, values: dict[str, Any]) -> None:
        content = json.dumps(values).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 (the name in the base class)
        note(f"{self.command or 'request'} {format % arguments}")


def serve(backend: Backend, host: str = "127.0.0.1", port: int = 9090) -> ThreadingHTTPServer:
    """A server that is bound and not yet running: call its ``serve_forever``. Raises ``OSError``."""
    handler = type("Handler", (_Handler,), {"backend": backend})
    server = ThreadingHTTPServer((host, port), handler)
    server.daemon_threads = True
    return server


@click.command()
@click.argument("references", nargs=-1, required=True, metavar="REFERENCE...")
@click.option("--root", type=click.Path(path_type=Path, file_okay=False, exists=True), required=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=Whole(1, 65535), default=9090, show_default=True)
@click.option("--min-confidence", type=Number(0, 1), metavar="P", help="Leave out less confident points.")
@model_option
def main(
    references: tuple[str, ...],
    root: Path,
    host: str,
    port: int,
    min_confidence: float | None,
    model: str | None,
) -> None:
    """Serve predictions from annotated REFERENCE files to Label Studio, for pictures below --root."""
    chosen, _ = choose_model(model, ())
    matcher = Matcher.open(chosen.open(), on_note=note)
    annotator = Annotator(matcher, references, pictures=[root], min_confidence=min_confidence)
    try:
        server = serve(Backend(annotator, root, f"dcc with {chosen.named}"), host, port)
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host}:{port} ({error.strerror or error}): choose another --port or --host"
        ) from error
    note(
        f"http://{host}:{port} answers for pictures below {root}: add this address to Label Studio's models"
    )
    server.serve_forever()


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the command; an error that a user can act on becomes one sentence and an exit code."""
    try:
        main(arguments)
    except DccError as error:
        note(f"dcc: {error}")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    run()
