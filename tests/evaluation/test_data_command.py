"""``dcc data``: downloads from a local server with faults, malformed archives, and checks."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import stat
import tarfile
import threading
import tracemalloc
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from dccnet.evaluation.datasets.check import check
from dccnet.evaluation.datasets.fetch import ARCHIVES, RECORD, fetch
from dccnet.evaluation.datasets.sources import SOURCES, Download, Source
from dccnet.runtime.download import download
from dccnet.runtime.errors import DataError, DccError
from dccnet.runtime.unpack import unpack
from tests.helpers import tiny_benchmarks as tiny
from tests.helpers.commands import Cli

CONTENT = bytes(range(256)) * 2000


class Handler(BaseHTTPRequestHandler):
    """Serves :attr:`files`; can cut transfers, ignore ranges and answer with errors."""

    files: ClassVar[dict[str, bytes]] = {}
    cut_after: ClassVar[list[int]] = []
    """Bytes after which the connections of the next requests close."""
    ranges = True
    etag = '"1"'
    statuses: ClassVar[list[int]] = []
    requests: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        cls = type(self)
        cls.requests.append(self.headers.get("Range", ""))
        if cls.statuses:
            self.send_error(cls.statuses.pop(0))
            return
        content = cls.files.get(self.path.lstrip("/"))
        if content is None:
            self.send_error(404)
            return
        start = 0
        if cls.ranges and "Range" in self.headers and self.headers.get("If-Range") == cls.etag:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                self.send_error(416)
                return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", cls.etag)
        self.end_headers()
        stop = start + cls.cut_after.pop(0) if cls.cut_after else len(content)
        self.wfile.write(content[start:stop])
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


class Server:
    def __init__(self) -> None:
        self.handler = type(
            "ThisHandler", (Handler,), {"files": {}, "cut_after": [], "statuses": [], "requests": []}
        )
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), self.handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running = Server()
    running.handler.files["a.bin"] = CONTENT
    yield running
    running.http.shutdown()
    running.http.server_close()


def get(server: Server, path: Path, known: str | None = None, largest: int = 10**7) -> str:
    return download(
        f"{server.url}/a.bin",
        path,
        known_hash=known,
        largest=largest,
        on_bytes=lambda there, total: None,
        extra="data",
        page="docs/evaluation.md",
        pause=0,
    )


def left(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_arrives_with_its_hash(server: Server, tmp_path: Path) -> None:
    found = get(server, tmp_path / "a.bin")
    assert found == hashlib.sha256(CONTENT).hexdigest()
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert left(tmp_path) == {"a.bin"}
    assert get(server, tmp_path / "a.bin", found) == found
    assert len(server.handler.requests) == 1  # the second call sent no request


def test_a_truncated_transfer_goes_on_by_itself(server: Server, tmp_path: Path) -> None:
    server.handler.cut_after += [100_000, 200_000]
    get(server, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    starts = [int(text.strip("bytes=-") or 0) for text in server.handler.requests]
    assert len(starts) == 3
    assert 80_000 < starts[1] <= 100_000  # the last block may be lost
    assert starts[1] + 180_000 < starts[2] <= starts[1] + 200_000


def test_the_next_call_goes_on_where_the_last_one_gave_up(server: Server, tmp_path: Path) -> None:
    server.handler.cut_after += [100_000] + [0] * 5
    with pytest.raises(DccError, match=r"\d{5} bytes have arrived: call again"):
        get(server, tmp_path / "a.bin")
    assert left(tmp_path) == {"a.bin.part", "a.bin.json"}
    server.handler.requests.clear()
    get(server, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    (start,) = server.handler.requests
    assert int(start.strip("bytes=-")) > 80_000
    assert left(tmp_path) == {"a.bin"}


def test_a_file_that_changed_meanwhile_is_fetched_anew(server: Server, tmp_path: Path) -> None:
    server.handler.cut_after += [100_000] + [0] * 5
    with pytest.raises(DccError):
        get(server, tmp_path / "a.bin")
    server.handler.files["a.bin"] = CONTENT[::-1]
    server.handler.etag = '"2"'
    get(server, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT[::-1]


def test_a_server_without_ranges_starts_over(server: Server, tmp_path: Path) -> None:
    server.handler.ranges = False
    server.handler.cut_after += [100_000]
    get(server, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_part_longer_than_the_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(CONTENT + b"x")
    (tmp_path / "a.bin.json").write_text(json.dumps({"url": f"{server.url}/a.bin", "validator": '"1"'}))
    get(server, tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_wrong_hash_leaves_no_file(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has changed"):
        get(server, tmp_path / "a.bin", "0" * 64)
    assert left(tmp_path) == set()


def test_server_errors_are_tried_again_and_missing_files_are_not(server: Server, tmp_path: Path) -> None:
    server.handler.statuses += [503, 500]
    get(server, tmp_path / "a.bin")
    server.handler.requests.clear()
    server.handler.files.clear()
    with pytest.raises(DccError, match="HTTP 404"):
        get(server, tmp_path / "b" / "a.bin")
    assert len(server.handler.requests) == 1


def test_more_bytes_than_allowed_are_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="512000 bytes, more than the allowed 1000"):
        get(server, tmp_path / "a.bin", largest=1000)


def test_no_server_at_all(tmp_path: Path) -> None:
    with pytest.raises(DccError, match="by other means"):
        download(
            "http://127.0.0.1:9/a.bin",
            tmp_path / "a.bin",
            known_hash=None,
            largest=10,
            on_bytes=lambda there, total: None,
            extra="data",
            page="docs/evaluation.md",
            pause=0,
        )


def zipped(path: Path, members: dict[str, bytes], link: str | None = None) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as pack:
        for name, content in members.items():
            pack.writestr(name, content)
        if link is not None:
            info = zipfile.ZipInfo("link")
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            pack.writestr(info, link)
    return path


def tarred(path: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as pack:
        for info, content in entries:
            info.size = len(content)
            pack.addfile(info, io.BytesIO(content))
    return path


def tar_info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def test_archives_unpack(tmp_path: Path) -> None:
    members = {"d/e/a.txt": b"a", "b.txt": b"b", "__MACOSX/._a": b"x", "d/.DS_Store": b"x"}
    unpack(zipped(tmp_path / "a.zip", members), tmp_path / "zip", 100)
    unpack(
        tarred(
            tmp_path / "a.tar.gz",
            (tar_info("./d", tarfile.DIRTYPE), b""),
            (tar_info("./d/e/a.txt"), b"a"),
            (tar_info("b.txt"), b"b"),
        ),
        tmp_path / "tar",
        100,
    )
    for folder in (tmp_path / "zip", tmp_path / "tar"):
        files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        assert files == {"d/e/a.txt": b"a", "b.txt": b"b"}


@pytest.mark.parametrize(
    "name", ["../out", "/out", "d/../../out", "C:/out", "d\\..\\..\\out", "\\\\host\\out"]
)
def test_paths_that_lead_out(tmp_path: Path, name: str) -> None:
    target = tmp_path / "in"
    archives = [tarred(tmp_path / "a.tar.gz", (tar_info("good"), b"g"), (tar_info(name), b"bad"))]
    if "\\" not in name:  # zipfile converts them to slashes
        archives.append(zipped(tmp_path / "a.zip", {"good": b"g", name: b"bad"}))
    for archive in archives:
        with pytest.raises(DataError, match="leads out"):
            unpack(archive, target, 100)
    assert left(target) == set()  # not even the good file
    assert not [*tmp_path.parent.glob("out"), *tmp_path.glob("**/out")]


@pytest.mark.parametrize("members", [{"a": b"1", "a/b": b"2"}, {"x" * 300: b"1"}])
def test_names_that_no_folder_can_hold_are_damage(members: dict[str, bytes], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="damaged or encrypted"):
        unpack(zipped(tmp_path / "a.zip", members), tmp_path / "in", 100)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE], ids=str
)
def test_links_and_devices(tmp_path: Path, kind: bytes) -> None:
    archive = tarred(tmp_path / "a.tar.gz", (tar_info("x", kind, "/etc"), b""), (tar_info("x/y"), b"bad"))
    with pytest.raises(DataError, match="a link or a device"):
        unpack(archive, tmp_path / "in", 100)
    with pytest.raises(DataError, match="a link or a device"):
        unpack(zipped(tmp_path / "a.zip", {"a": b"a"}, link="/etc"), tmp_path / "in", 100)
    assert left(tmp_path / "in") == set()


def test_a_bomb_and_a_header_that_lies(tmp_path: Path) -> None:
    bomb = zipped(tmp_path / "a.zip", {"zeros": bytes(5_000_000)})
    assert bomb.stat().st_size < 10_000
    with pytest.raises(DataError, match="unpacks to more than 1000000 bytes"):
        unpack(bomb, tmp_path / "in", 1_000_000)
    assert left(tmp_path / "in") == set()


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", "zip"])
def test_folders_are_merged_and_nothing_of_the_users_is_lost(kind: str, tmp_path: Path) -> None:
    archive, folder = tmp_path / f"a.{kind}", tmp_path / "in"
    if kind == "zip":
        zipped(archive, {"photos/1.jpg": b"one", "list.csv": b"list"})
    else:
        with tarfile.open(archive, f"w:{kind}") as pack:  # type: ignore[call-overload]
            for name, content in (("photos/1.jpg", b"one"), ("list.csv", b"list")):
                info = tar_info(name)
                info.size = len(content)
                pack.addfile(info, io.BytesIO(content))
    (folder / "photos").mkdir(parents=True)
    (folder / "photos" / "mine.jpg").write_bytes(b"mine")
    unpack(archive, folder, 100)
    unpack(archive, folder, 100)  # the same files may be there
    files = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert files == {"photos/mine.jpg": b"mine", "photos/1.jpg": b"one", "list.csv": b"list"}
    (folder / "photos" / "1.jpg").write_bytes(b"edited")
    (folder / "list.csv").unlink()
    with pytest.raises(DccError, match=r"photos/1\.jpg is there already and is not what a\.") as caught:
        unpack(archive, folder, 100)
    assert not isinstance(caught.value, DataError)  # after which fetch deletes the archive
    assert (folder / "photos" / "1.jpg").read_bytes() == b"edited" and not (folder / "list.csv").exists()
    shutil.rmtree(folder / "photos")
    (folder / "photos").write_bytes(b"a file where the archive has a folder")
    with pytest.raises(DccError, match="photos is there already"):
        unpack(archive, folder, 100)


def test_a_header_that_takes_all_memory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    archive = tmp_path / "bomb.tar.gz"
    info = tar_info("x", tarfile.XHDTYPE)
    info.size = 200 << 20
    with gzip.open(archive, "wb", compresslevel=1) as file:
        file.write(info.tobuf())
        for _ in range(200):
            file.write(bytes(1 << 20))
    assert archive.stat().st_size < 2_000_000
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="header of over"):
            unpack(archive, tmp_path / "in", 1000)
        assert tracemalloc.get_traced_memory()[1] < 60 << 20
    finally:
        tracemalloc.stop()


def test_a_chain_of_headers_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "chain.tar"
    with archive.open("wb") as file:
        for _ in range(5000):
            info = tar_info("x", tarfile.XHDTYPE)
            info.size = 512
            file.write(info.tobuf() + b"14 comment=abc".ljust(512, b"\0"))
    with pytest.raises(DataError, match="damaged"):
        unpack(archive, tmp_path / "in", 1000)


@pytest.mark.parametrize("damage", [lambda d: d[: len(d) // 2], lambda d: b"", lambda d: b"<html>"])
def test_damaged_archives(tmp_path: Path, damage: object) -> None:
    for archive in (
        zipped(tmp_path / "a.zip", {"a": CONTENT}),
        tarred(tmp_path / "a.tar.gz", (tar_info("a"), CONTENT)),
    ):
        archive.write_bytes(damage(archive.read_bytes()))  # type: ignore[operator]
        with pytest.raises(DataError, match="fetch it again"):
            unpack(archive, tmp_path / "in", 10**7)
        assert left(tmp_path / "in") == set()


def willow_on(server: Server, tmp_path: Path) -> Source:
    """A tiny PF-WILLOW on the server, under the real file names."""
    made = tmp_path / "made"
    tiny.pf_willow(made)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as pack:
        for path in (made / "PF-dataset").rglob("*.png"):
            pack.write(path, path.relative_to(made).as_posix())
    server.handler.files |= {
        "PF-dataset.zip": archive.getvalue(),
        "test_pairs_pf.csv": (made / "test_pairs_pf.csv").read_bytes(),
    }
    return SOURCES["pf-willow"]


def test_fetch_check_and_fetch_again(server: Server, dcc_here: Cli, tmp_path: Path) -> None:
    willow_on(server, tmp_path)
    folder = tmp_path / "willow"
    done = dcc_here("data", "fetch", "pf-willow", "-o", folder, "--mirror", server.url)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(folder)
    record = json.loads((folder / RECORD).read_text())
    archive = server.handler.files["PF-dataset.zip"]
    assert record["PF-dataset.zip"]["sha256"] == hashlib.sha256(archive).hexdigest()
    server.handler.requests.clear()
    assert dcc_here("data", "fetch", "pf-willow", "-o", folder, "--mirror", server.url).returncode == 0
    assert server.handler.requests == []
    found = dcc_here("data", "check", "pf-willow", folder)
    assert found.returncode == 3  # two pairs are too few for PF-WILLOW
    assert "2 pairs of 3 pictures, 40 keypoints" in found.stdout
    assert "the list has 2 pairs, PF-WILLOW's has 900" in found.stderr


def test_a_changed_archive_is_not_accepted(server: Server, tmp_path: Path) -> None:
    source = willow_on(server, tmp_path)
    fetch(source, tmp_path / "willow", server.url)
    (tmp_path / "willow" / ARCHIVES / "PF-dataset.zip").unlink()
    record = json.loads((tmp_path / "willow" / RECORD).read_text())
    record["PF-dataset.zip"]["complete"] = False  # as if unpacking had been interrupted
    (tmp_path / "willow" / RECORD).write_text(json.dumps(record))
    server.handler.files["PF-dataset.zip"] += b"more"
    with pytest.raises(DataError, match="has changed"):
        fetch(source, tmp_path / "willow", server.url)


def test_a_page_in_place_of_an_archive_is_forgotten(server: Server, tmp_path: Path) -> None:
    source = willow_on(server, tmp_path)
    archive = server.handler.files["PF-dataset.zip"]
    server.handler.files["PF-dataset.zip"] = b"<html>we moved</html>"
    with pytest.raises(DataError, match="neither a zip nor a tar"):
        fetch(source, tmp_path / "willow", server.url)
    server.handler.files["PF-dataset.zip"] = archive
    fetch(source, tmp_path / "willow", server.url)
    assert len(list((tmp_path / "willow" / "PF-dataset").rglob("*.png"))) == 3


def test_check_finds_what_is_wrong(tmp_path: Path) -> None:
    source = Source("PF-PASCAL", "", (), pairs=3)
    path = tiny.pf_pascal(tmp_path)
    assert check("pf-pascal", source, tmp_path).problems == ()
    images = tmp_path / "PF-dataset-PASCAL" / "JPEGImages"
    content = (images / "1.png").read_bytes()
    (images / "1.png").write_bytes(content[: len(content) // 2])
    (images / "2.png").write_bytes(b"")
    result = check("pf-pascal", source, tmp_path)
    assert len(result.problems) == 2
    assert (result.pairs, result.pictures) == (3, 4)
    path.write_text(path.read_text().rsplit("\n", 2)[0] + "\n")
    assert "the list has 2 pairs" in check("pf-pascal", source, tmp_path).problems[0]


def test_check_reads_every_flow(tmp_path: Path) -> None:
    tiny.tss(tmp_path)
    source = Source("TSS", "", (), pairs=1)
    assert check("tss", source, tmp_path).problems == ()
    (flow,) = tmp_path.rglob("flow1.flo")
    flow.write_bytes(flow.read_bytes()[:-1])
    (problem,) = check("tss", source, tmp_path).problems
    assert "is damaged" in problem


def test_every_address_names_a_file_of_its_own() -> None:
    for source in SOURCES.values():
        names = [item.name for item in source.downloads]
        assert all(names)
        assert len(set(names)) == len(names)
        assert all(item.url.startswith(("http://", "https://")) for item in source.downloads)
    assert Download("https://x/y/z.zip").name == "z.zip"
