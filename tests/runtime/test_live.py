"""``dcc view --live`` without a browser: its files, its server, and where onnxruntime-web comes from."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import io
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from click.testing import CliRunner

from dccnet.cli import dcc as dcc_command
from dccnet.demo.browser import serving
from dccnet.runtime.errors import DataError, DccError, UsageError
from dccnet.runtime.images import read_image, write_image
from dccnet.runtime.models.names import open_bundle
from dccnet.runtime.viewer.live import onnxruntime_web as web
from dccnet.runtime.viewer.live.folder import LivePage, live_page, write_page
from dccnet.runtime.viewer.live.server import PageServer
from tests.helpers.commands import Cli, one_sentence
from tests.helpers.model_server import ModelServer

MODULE, WASM = b"export const a = 1;", b"\0asm" + bytes(1000)
BUILD = web.Build(
    "small", "module.mjs", hashlib.sha256(MODULE).hexdigest(), "code.wasm", hashlib.sha256(WASM).hexdigest()
)
CONTENT = {BUILD.module: MODULE, BUILD.wasm: WASM}
NOTHING = web.WebRuntime(web.CPU, b"", b"")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, no npm, no settings."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("npm_config_registry", raising=False)
    return tmp_path / "cache" / "dcc" / web.PACKAGE / web.VERSION / BUILD.name


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """The package's folder, as in ``node_modules``."""
    folder = tmp_path / "onnxruntime-web"
    (folder / "dist").mkdir(parents=True)
    for name, content in CONTENT.items():
        (folder / "dist" / name).write_bytes(content)
    return folder


def tarball(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def answer(url: str, path: str = "/", host: str | None = None, method: str = "GET") -> Any:
    """Status, headers and content."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=10)
    with contextlib.closing(connection):
        connection.request(method, path, headers={} if host is None else {"Host": host})
        response = connection.getresponse()
        return response.status, response.headers, response.read()


# Where onnxruntime-web comes from ---------------------------------------------------------------


def find(source: str | None = None, **options: Any) -> web.WebRuntime:
    return web.find_web_runtime(source, build=BUILD, **options)


def is_found(found: web.WebRuntime, cache: Path) -> bool:
    """Whether these are the files, and the cache has them for the next time."""
    again = find()
    assert found == again and sorted(path.name for path in cache.iterdir()) == sorted(
        [BUILD.module, f"{BUILD.wasm}.gz"]
    )
    return found.module == MODULE and gzip.decompress(found.wasm_gz) == WASM


def test_nothing_is_fetched_unless_it_is_asked_for(cache: Path) -> None:
    with pytest.raises(DccError, match=r"does not contain: add --fetch once, which fetches it from npm"):
        find()
    with pytest.raises(DccError, match="npm is not installed, so onnxruntime-web cannot be fetched"):
        find(fetch=True)
    assert not cache.exists()


def test_a_folder_and_a_tarball_are_taken(cache: Path, unpacked: Path, tmp_path: Path) -> None:
    assert is_found(find(str(unpacked)), cache)
    (cache / BUILD.module).write_bytes(b"changed")  # a damaged cache is as good as none
    with pytest.raises(DccError, match="add --fetch"):
        find()
    archive = tmp_path / "any-name.tgz"
    archive.write_bytes(tarball(CONTENT | {"ort.js": b"more"}))
    assert is_found(find(str(archive)), cache)


def test_npm_fetches_it(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "packed.tgz").write_bytes(tarball(CONTENT))
    npm = tmp_path / "bin" / "npm"
    npm.parent.mkdir()
    npm.write_text(f'#!/bin/sh\nread x < "{tmp_path}/fail" && echo "npm error E404" >&2 && exit 1\n')
    with npm.open("a") as file:
        file.write(f'echo "$@" > "{tmp_path}/asked"\n/bin/cp "{tmp_path}/packed.tgz" {web.TARBALL}\n')
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(npm.parent))
    notes: list[str] = []
    assert is_found(find(fetch=True, on_note=notes.append), cache)
    assert notes == ["fetching onnxruntime-web 1.30.0 (33 MB) with npm"]
    assert (tmp_path / "asked").read_text().startswith("pack onnxruntime-web@1.30.0 --ignore-scripts")
    (cache / BUILD.module).unlink()
    (tmp_path / "fail").write_text("yes\n")
    with pytest.raises(DccError, match=r"npm cannot fetch onnxruntime-web 1.30.0 \(npm error E404\)"):
        find(fetch=True)


@pytest.mark.parametrize("way", ["address", "environment", "npmrc"])
def test_without_npm_it_comes_from_an_address_or_the_set_registry(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    pytest.importorskip("pooch")
    server, content = ModelServer(), tarball(CONTENT)
    path = f"mirror/onnxruntime-web/-/{web.TARBALL}"
    server.files[path] = content
    monkeypatch.setattr(web, "TARBALL_SHA256", hashlib.sha256(content).hexdigest())
    registry = f"{server.url}/mirror/"
    if way == "environment":
        monkeypatch.setenv("NPM_CONFIG_REGISTRY", registry)
    if way == "npmrc":
        (tmp_path / ".npmrc").write_text(f"//host/:_authToken=secret\nregistry = {registry}\n")
    source = f"{server.url}/{path}" if way == "address" else None
    try:
        assert is_found(find(source, fetch=source is None), cache)
        monkeypatch.setattr(web, "TARBALL_SHA256", "0" * 64)
        with pytest.raises(DataError, match="has changed"):
            find(f"{server.url}/{path}")
    finally:
        server.close()


def test_other_files_are_refused(cache: Path, unpacked: Path, tmp_path: Path) -> None:
    (unpacked / "dist" / BUILD.wasm).write_bytes(b"another version")
    with pytest.raises(DataError, match=r"is not that of onnxruntime-web 1.30.0 \(its SHA-256 differs\)"):
        find(str(unpacked))
    (unpacked / "dist" / BUILD.wasm).unlink()
    with pytest.raises(DataError, match="is not the package onnxruntime-web"):
        find(str(unpacked))
    archive = tmp_path / "archive.tgz"
    for content, said in ((b"no archive", "damaged, or no tar file"), (tarball({}), "it has no package/")):
        archive.write_bytes(content)
        with pytest.raises(DataError, match=said):
            find(str(archive))
    with pytest.raises(UsageError, match="does not exist"):
        find(str(tmp_path / "nothing"))
    assert not cache.exists()


# The page's files -------------------------------------------------------------------------------


def test_the_page_has_the_graphs_as_they_are_and_the_licences(tmp_path: Path) -> None:
    bundle = open_bundle()
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    for name in ("a.tiff", "b.png"):
        write_image(tmp_path / name, picture)
    runtime = web.WebRuntime(web.WEBGPU, b"module", b"wasm")
    page = live_page(bundle, "small-1", runtime, [tmp_path / "a.tiff", tmp_path / "b.png"])
    for file in ("encoder.onnx", "matcher.onnx", "manifest.json"):
        assert page.files[f"bundle/{file}"] == (bundle.path / file).read_bytes()
    assert b"Microsoft" in page.files["onnxruntime-web/LICENSE.txt"]
    assert b"Apache License" in page.files["bundle/LICENSE.txt"]
    folder = tmp_path / "page"
    write_page(page, folder)
    config = json.loads((folder / "page.json").read_text())
    assert config["webgpu"] and (folder / config["runtime"]).read_bytes() == b"module"
    assert (folder / config["wasm"]).read_bytes() == b"wasm"
    assert config["pictures"] == [
        {"side": "a", "file": "pictures/a.png", "name": "a.tiff"},  # browsers show no TIFF
        {"side": "b", "file": "pictures/b.png", "name": "b.png"},
    ]
    for entry in config["pictures"]:
        np.testing.assert_array_equal(read_image(folder / entry["file"]), picture)
    for name, size in config["sizes"].items():
        assert (folder / name).stat().st_size == size
    write_page(page, folder)  # an earlier page is replaced
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("words")
    with pytest.raises(DccError, match="exists and is no page of dcc view --live"):
        write_page(page, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "words"


def test_files_of_others_beside_an_earlier_page_are_not_lost(tmp_path: Path) -> None:
    folder = tmp_path / "site"
    earlier = {"index.html": b"old", "former.js": b"", "onnxruntime-web/LICENSE.txt": b"MIT"}
    config = json.dumps({"sizes": {"index.html": 3, "former.js": 0}}).encode()
    write_page(LivePage({**earlier, "page.json": config}, 3), folder)
    page = LivePage({"index.html": b"new", "page.json": b"{}"}, 3)
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("ref: refs/heads/pages")
    with pytest.raises(DccError, match="HEAD is no file of the page, and would be lost"):
        write_page(page, folder)
    assert (folder / "index.html").read_text() == "old" and (folder / ".git" / "HEAD").exists()
    (folder / ".git" / "HEAD").unlink()
    write_page(page, folder)
    assert sorted(path.name for path in folder.rglob("*")) == ["index.html", "page.json"]
    (folder / "page.json").write_text("[]")  # of another program
    with pytest.raises(DccError, match=r"index\.html is no file of the page"):
        write_page(page, folder)


def test_browsers_leave_out_the_port_80() -> None:
    with PageServer({}) as server:
        assert "localhost" not in server.hosts and f"localhost:{server.server_port}" in server.hosts
        server.server_port = 80
        assert {"127.0.0.1", "localhost"} <= set(server.hosts)


def test_a_tab_that_is_closed_while_files_arrive_is_no_error(capfd: pytest.CaptureFixture[str]) -> None:
    with serving({"index.html": b"x" * 30_000_000}) as url:
        port = urlsplit(url).port or 0
        with socket.create_connection(("127.0.0.1", port)) as tab:
            tab.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closed at once
            tab.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            tab.recv(1000)
        time.sleep(0.3)
    assert capfd.readouterr().err == ""


def test_the_page_names_no_other_place_and_runs_no_text() -> None:
    """No address but the page's own, and no script or style that its policy would have to allow."""
    page = live_page(open_bundle(), "small-1", NOTHING)
    own = {
        name: text.decode() for name, text in page.files.items() if name.endswith((".js", ".html", ".css"))
    }
    assert {"index.html", "live.js", "worker.js", "page.css", "colours.js", "shared.js"} <= own.keys()
    for name, text in own.items():
        for forbidden in ("http:", "https:", "eval(", "innerHTML", "new Function", "//cdn"):
            assert forbidden not in text, f"{name}: {forbidden}"
    index = own["index.html"]
    assert "<style" not in index and " style=" not in index and "onclick" not in index
    assert "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'" in index and "'unsafe" not in index
    for name in own:
        if name.endswith(".js"):
            assert name in {"live.js", "worker.js", "colours.js", "shared.js"} or any(
                f'"./{name}"' in text for text in own.values()
            ), f"nothing loads {name}"


# The server -------------------------------------------------------------------------------------


def test_the_server_has_the_pages_files_only_and_isolates_it() -> None:
    with serving({"index.html": b"<p>page", "bundle/encoder.onnx": b"graph", "a.mjs": b"1"}) as url:
        assert url.startswith("http://127.0.0.1:")
        status, headers, content = answer(url)
        assert (status, content) == (200, b"<p>page")
        assert headers["Content-Type"] == "text/html; charset=utf-8"
        assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert answer(url, "/a.mjs")[1]["Content-Type"].startswith("text/javascript")
        assert answer(url, "/bundle/encoder.onnx?x=1")[2] == b"graph"
        for path in ("/bundle/", "/../etc/passwd", "/%2e%2e/pyproject.toml", "/bundle//encoder.onnx"):
            assert answer(url, path)[0] == 404, path
        status, headers, content = answer(url, method="HEAD")
        assert (status, headers["Content-Length"], content) == (200, "7", b"")
        assert answer(url, method="POST")[0] == 501
        # Of a name that somebody else lets lead to this machine.
        assert answer(url, host="evil.example")[0] == 421
        assert answer(url, host=f"localhost:{urlsplit(url).port}")[0] == 200
        with pytest.raises(DccError, match=r"is not to be had \(in use\): name another with --port"):
            PageServer({}, urlsplit(url).port or 0)


# The command ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--live", "a.jpg"), "name two pictures, A and B, or none"),
        (("--live", "--backend", "onnxruntime"), "--backend has no meaning with --live"),
        (("--live", "-o", "page", "--port", "8000"), "for a page that is served"),
        (("a.jpg", "b.jpg", "-o", "page.html", "--fetch"), "--fetch is for the page of --live"),
        (("a.jpg", "b.jpg"), "name the page to write: -o page.html"),
    ],
)
def test_options_that_contradict_each_other_are_refused(arguments: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(dcc_command, ["view", *arguments])
    assert isinstance(done.exception, UsageError) and said in str(done.exception)


def test_the_command_writes_a_folder(
    unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dccnet.runtime.viewer.live.command.CPU", BUILD)
    folder = tmp_path / "page"
    arguments = ["view", "--live", "--onnxruntime-web", str(unpacked), "-o", str(folder), "--json"]
    done = CliRunner().invoke(dcc_command, arguments)
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout.splitlines()[0])  # older versions of click add stderr
    assert facts["page"] == str(folder)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert facts["files"] == len(files)
    licences = sum(path.stat().st_size for path in folder.rglob("LICENSE.txt"))
    assert facts["loaded_bytes"] == sum(path.stat().st_size for path in files) - licences
    assert facts["loaded_bytes"] < 12e6 - 3.8e6  # what the real onnxruntime-web adds


def test_the_real_command_says_what_is_missing_and_serves_until_it_is_stopped(
    dcc: Cli, tmp_path: Path
) -> None:
    one_sentence(dcc("view", "--live"), 1, "needs onnxruntime-web 1.30.0", "--fetch", "docs/live.md")
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "  # ignored in a job
        "import dccnet.runtime.viewer.live.onnxruntime_web as w; w.find_web_runtime = lambda *_, **__: "
        "w.WebRuntime(w.CPU, b'', b''); from dccnet.cli import main; main(['view', '--live', '--no-open'])"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        rescue = threading.Timer(120, running.kill)  # whatever it waits for, the test does not
        rescue.start()
        try:
            assert running.stdout is not None
            url = running.stdout.readline().strip()
            assert answer(url)[0] == 200
            os.kill(running.pid, signal.SIGINT)
            assert running.wait(timeout=20) == 0
        finally:
            rescue.cancel()
            running.kill()
