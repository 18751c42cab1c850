"""A local server of files, with as much of the Hugging Face Hub's API as a download needs."""

from __future__ import annotations

import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class _Handler(BaseHTTPRequestHandler):
    files: ClassVar[dict[str, bytes]]
    repositories: ClassVar[dict[str, dict[str, bytes]]]
    gated: ClassVar[set[str]]
    requests: ClassVar[list[str]]
    commits: ClassVar[dict[str, str]]

    def do_GET(self) -> None:
        self._answer(with_content=True)

    def do_HEAD(self) -> None:
        self._answer(with_content=False)

    def _answer(self, with_content: bool) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        self.requests.append(f"{self.command} {path}")
        if path in self.files:
            self._send(self.files[path], with_content)
            return
        is_api = path.startswith("api/models/")
        parts = path.removeprefix("api/models/").split("/")
        name, rest = "/".join(parts[:2]), parts[2:]
        if name in self.gated:
            self._refuse(403, "GatedRepo")
        elif name not in self.repositories:
            self._refuse(404, "RepoNotFound" if is_api else "NotFound")
        elif is_api:
            revision = "/".join(rest[1:]) or "main"
            if revision in self.commits:
                self._send(json.dumps(self._info(name, self.commits[revision])).encode(), with_content)
            else:
                self._refuse(404, "RevisionNotFound")
        elif rest[:1] == ["resolve"] and (content := self.repositories[name].get("/".join(rest[2:]))):
            self._send(content, with_content, rest[1])
        else:
            self._refuse(404, "EntryNotFound")

    def _info(self, name: str, commit: str) -> dict[str, object]:
        siblings = [
            {"rfilename": file, "size": len(content), "blobId": hashlib.sha1(content).hexdigest()}
            for file, content in self.repositories[name].items()
        ]
        return {"id": name, "modelId": name, "sha": commit, "siblings": siblings, "private": False}

    def _send(self, content: bytes, with_content: bool, commit: str | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        if commit is not None:
            self.send_header("X-Repo-Commit", commit)
        self.end_headers()
        if with_content:
            self.wfile.write(content)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class ModelServer:
    """Files by their path, and repositories (``OWNER/NAME``) of files by their name."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.gated: set[str] = set()
        self.requests: list[str] = []
        self.commits = {"main": COMMIT, COMMIT: COMMIT}
        """By revision."""
        handler = type("Handler", (_Handler,), dict(vars(self)))
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Later connections are refused."""
        self._http.shutdown()
        self._http.server_close()
