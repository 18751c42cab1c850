"""Models by address: from archives with a hash and from the Hub's API, on a server of this test's own."""

from __future__ import annotations

import hashlib
import io
import json
import re
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from dccnet.runtime.bundle import Bundle
from dccnet.runtime.commands.build import build
from dccnet.runtime.errors import BundleError, DccError, UsageError
from dccnet.runtime.extras import install
from dccnet.runtime.matcher import Matcher
from dccnet.runtime.models import fetching, hub
from dccnet.runtime.models.addresses import ArchiveAddress, HubAddress, parse_address
from dccnet.runtime.models.kept import kept_models, read_origin, user_folder
from dccnet.runtime.models.names import BUILT_IN, DEFAULT, find_model, named_models, open_bundle
from tests.helpers.commands import Cli, one_sentence
from tests.helpers.model_server import COMMIT, ModelServer

SMALL_1 = BUILT_IN / DEFAULT
FILES = {file.name: file.read_bytes() for file in SMALL_1.iterdir()}
HASH = "a" * 64

for package in ("huggingface_hub", "pooch"):
    pytest.importorskip(package)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelServer]:
    """A server, a cache of the test's own, and no other network."""
    running = ModelServer()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_ENDPOINT", running.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(fetching, "_PAUSE", 0.0)
    running.repositories["someone/small"] = {
        **FILES,
        "README.md": b"# A model",
        "encoder.tensorrt.engine": b"a program",
        "checkpoints/epoch1.safetensors": b"large",
    }
    yield running
    running.close()


def zipped(files: dict[str, bytes], folder: str = "") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(folder + name, content)
    return packed.getvalue()


def publish(server: ModelServer, content: bytes, name: str = "bundle.zip") -> str:
    """The address of an archive with this content."""
    server.files[name] = content
    return f"{server.url}/{name}#sha256={hashlib.sha256(content).hexdigest()}"


def nothing_is_left() -> bool:
    """Whether no part of a bundle is in the cache."""
    return not [path for path in user_folder().rglob("*") if path.is_file()]


# Addresses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("hf:a/b", HubAddress("a/b", None)),
        ("hf:a.b/c-d_e@v1.0", HubAddress("a.b/c-d_e", "v1.0")),
        ("hf:a/b@refs/pr/1", HubAddress("a/b", "refs/pr/1")),
        (f"https://x.org/b.zip#sha256={HASH}", ArchiveAddress("https://x.org/b.zip", HASH)),
        (f"https:/x.org/b.zip#sha256={HASH}", ArchiveAddress("https://x.org/b.zip", HASH)),
        (
            f"HTTP://x.org/b.tar.gz?a=1#sha256:{HASH.upper()}",
            ArchiveAddress("http://x.org/b.tar.gz?a=1", HASH),
        ),
        ("small-1", None),
        ("folder/bundle", None),
        ("C:/bundle", None),
        ("hfx", None),
    ],
)
def test_addresses_are_read(text: str, address: HubAddress | ArchiveAddress | None) -> None:
    assert parse_address(text) == address
    if address is not None:
        assert parse_address(str(address)) == address


@pytest.mark.parametrize("text", ["hf:", "hf:a", "hf:a/b/c", "hf:../b", "hf:a/b@", "hf:a b/c", "hf:/b"])
def test_what_is_no_repository_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"write hf:OWNER/NAME\[@REVISION\]"):
        parse_address(text)


@pytest.mark.parametrize(
    "text",
    ["https://x.org/b.zip", "http://x.org/b.zip", "https://x.org/b.zip#sha256=12", "https://x.org/b#x"],
)
def test_an_archive_without_its_hash_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"with the SHA-256 of the file only"):
        parse_address(text)


@given(st.from_regex(r"hf:[\w.-]+/[\w.-]+(@.+)?", fullmatch=True))
@settings(max_examples=30, deadline=None)
def test_every_address_has_a_folder_name_of_its_own(text: str) -> None:
    try:
        address = parse_address(text)
    except UsageError:
        return
    assert address is not None
    assert "/" not in address.key and address.key not in (".", "..") and "\0" not in address.key


def test_different_repositories_have_different_folders() -> None:
    texts = ["hf:a/b", "hf:a/b@main", "hf:a--b/c", "hf:a/b--c", "hf:a/b@x/y", "hf:a/b@x--y", "hf:a/b@x%2Fy"]
    assert len({parse_address(text).key for text in texts}) == len(texts)  # type: ignore[union-attr]


# The Hub ----------------------------------------------------------------------------------------


def test_a_repository_is_fetched_once_and_then_used_offline(server: ModelServer) -> None:
    notes: list[str] = []
    bundle = open_bundle("hf:someone/small", notes.append)
    assert bundle.manifest == Bundle.open(SMALL_1).manifest and notes == ["fetching hf:someone/small"]
    origin = read_origin(bundle.path)
    assert origin is not None and (origin.address, origin.commit) == ("hf:someone/small", COMMIT)
    assert {file.name for file in bundle.path.iterdir()} == {*FILES, "origin.json"}
    fetched = {request.split("/")[-1] for request in server.requests if "/resolve/" in request}
    assert fetched == set(FILES), "neither engines nor other files"
    server.close()
    assert find_model("hf:someone/small", notes.append) == bundle.path and len(notes) == 1
    with Matcher.open("hf:someone/small", device="cpu") as matcher:
        assert matcher.manifest == bundle.manifest
    assert named_models()["hf:someone/small"] == bundle.path


def test_a_revision_is_a_model_of_its_own(server: ModelServer) -> None:
    server.commits["v1"] = server.commits["f" * 40] = "f" * 40
    origins = [read_origin(find_model(f"hf:someone/small@{name}")) for name in ("v1", "main")]
    assert [origin.commit for origin in origins if origin] == ["f" * 40, COMMIT]
    assert set(kept_models()) == {"hf:someone/small@v1", "hf:someone/small@main"}


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("hf:someone/other", "there is no such repository, or it is private"),
        ("hf:someone/small@v9", "no branch, tag or commit of this name"),
        ("hf:someone/secret", "its owner has to grant access"),
        ("hf:someone/empty", r"no bundle: its repository has no manifest\.json"),
    ],
)
def test_what_the_hub_does_not_have(server: ModelServer, address: str, sentence: str) -> None:
    server.gated.add("someone/secret")
    server.repositories["someone/empty"] = {"model.safetensors": b"x"}
    with pytest.raises(DccError, match=f"{address}.* {sentence}") as caught:
        open_bundle(address)
    assert "\n" not in str(caught.value) and nothing_is_left()


def test_altered_and_incomplete_repositories_are_refused(server: ModelServer) -> None:
    server.repositories["someone/small"]["matcher.onnx"] += b" "
    with pytest.raises(
        BundleError, match=r"hf:someone/small/matcher\.onnx is not the file that was exported"
    ):
        open_bundle("hf:someone/small")
    del server.repositories["someone/small"]["matcher.onnx"]
    with pytest.raises(BundleError, match=r"hf:someone/small is incomplete: matcher\.onnx is missing"):
        open_bundle("hf:someone/small")
    server.repositories["someone/small"]["manifest.json"] = b"{}"
    with pytest.raises(BundleError, match=r"hf:someone/small/manifest\.json is damaged"):
        open_bundle("hf:someone/small")
    assert nothing_is_left()


def test_a_repository_that_is_too_large_is_not_fetched(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "LARGEST", 1000)
    with pytest.raises(BundleError, match="more than the allowed 1000"):
        open_bundle("hf:someone/small")
    assert not [request for request in server.requests if request.startswith("GET") and "onnx" in request]
    assert nothing_is_left()


def test_no_network(server: ModelServer) -> None:
    server.close()
    with pytest.raises(DccError, match=r"hf:someone/small cannot be fetched \(.+\): try again, or name"):
        open_bundle("hf:someone/small")


# Archives ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["", "small-1/"])
def test_an_archive_is_fetched_once_and_then_used_offline(server: ModelServer, folder: str) -> None:
    address = publish(server, zipped(FILES | {"encoder.tensorrt.engine": b"x", "notes.txt": b"y"}, folder))
    bundle = open_bundle(address)
    assert bundle.manifest == Bundle.open(SMALL_1).manifest
    assert {file.name for file in bundle.path.iterdir()} == {*FILES, "origin.json"}
    server.close()
    assert open_bundle(address).path == bundle.path == named_models()[address]
    mirror = address.replace(server.url, "https://elsewhere.org")
    assert open_bundle(mirror).path == bundle.path, "the hash says that it is the same file"
    assert not (user_folder() / "downloads").exists()


def test_tar_files_are_read(server: ModelServer) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(SMALL_1, "./bundle")
    assert open_bundle(publish(server, packed.getvalue(), "b.tgz")).manifest.verified


def with_link(target: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        link = zipfile.ZipInfo("manifest.json")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, target)
    return packed.getvalue()


def with_device() -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        device = tarfile.TarInfo("manifest.json")
        device.type = tarfile.CHRTYPE
        archive.addfile(device)
    return packed.getvalue()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"<html>not found</html>", "is neither a zip nor a tar file"),
        (zipped({"../manifest.json": b"{}"}), "holds a path that leads out of it"),
        (zipped({"/etc/manifest.json": b"{}"}), "holds a path that leads out of it"),
        (with_link("/etc/passwd"), "holds a link or a device"),
        (with_device(), "holds a link or a device"),
        (zipped({"readme.txt": b"hello"}), r"is no bundle: it has no manifest\.json"),
        (zipped({"manifest.json": b"{}"}), r"manifest\.json is damaged or was edited"),
        (zipped(FILES)[:-30], "damaged or encrypted|neither a zip"),
        (zipped({**FILES, "encoder.onnx": b"other"}), "encoder.onnx is not the file that was exported"),
    ],
)
def test_hostile_and_foreign_archives_are_refused(
    server: ModelServer, content: bytes, sentence: str
) -> None:
    with pytest.raises(BundleError, match=sentence) as caught:
        open_bundle(publish(server, content))
    assert server.url in str(caught.value) and "\n" not in str(caught.value)
    assert nothing_is_left()


def test_an_archive_that_unpacks_to_too_much_is_refused(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "LARGEST", 10**6)
    address = publish(server, zipped({**FILES, "filler": bytes(5 * 10**6)}))
    with pytest.raises(DccError, match=r"than the allowed 1000000|more than 1000000 bytes"):
        open_bundle(address)
    assert nothing_is_left()


def test_a_manifest_that_names_files_elsewhere_is_refused(server: ModelServer) -> None:
    from dccnet.runtime.manifest import manifest_digest

    values = json.loads(FILES["manifest.json"])
    values["calibration"]["table"] = "../../table.json"
    text = json.dumps(values | {"digest": manifest_digest(values)}).encode()
    with pytest.raises(BundleError, match="names a file outside the bundle"):
        open_bundle(publish(server, zipped(FILES | {"manifest.json": text})))
    server.repositories["someone/small"]["manifest.json"] = text
    with pytest.raises(BundleError, match="names a file outside the bundle"):
        open_bundle("hf:someone/small")


def test_another_file_than_the_hash_says_is_refused(server: ModelServer) -> None:
    address = publish(server, zipped(FILES))
    server.files["bundle.zip"] += b" "
    with pytest.raises(DccError, match=r"has changed \(its SHA-256 is not"):
        open_bundle(address)
    assert nothing_is_left()


def test_passwords_in_an_address_are_not_kept_and_not_shown(server: ModelServer) -> None:
    address = publish(server, zipped(FILES)).replace("http://", "http://me:secret@")
    notes: list[str] = []
    origin = read_origin(open_bundle(address.replace(".zip", ".zip?token=abc"), notes.append).path)
    assert origin is not None and "secret" not in origin.address and "abc" not in origin.address
    assert "secret" not in notes[0] and "abc" not in notes[0]
    with pytest.raises(UsageError) as caught:
        open_bundle("https://me:secret@x.org/b.zip")
    assert "secret" not in str(caught.value)


def test_a_server_without_the_file_or_without_an_answer(server: ModelServer) -> None:
    with pytest.raises(DccError, match=r"nothing\.zip is not available \(HTTP 404\): see docs/models\.md"):
        open_bundle(f"{server.url}/nothing.zip#sha256={HASH}")
    server.close()
    with pytest.raises(DccError, match=r"cannot be fetched \(ConnectionError\)"):
        open_bundle(f"{server.url}/nothing.zip#sha256={HASH}")
    assert nothing_is_left()


# Commands ---------------------------------------------------------------------------------------


def test_commands_take_addresses(
    dcc: Cli, server: ModelServer, pictures: list[Path], tmp_path: Path
) -> None:
    address = publish(server, zipped(FILES))
    done = dcc("models", "fetch", address)
    assert done.returncode == 0 and f"fetching {address}" in done.stderr
    assert Path(done.stdout.strip()).parent == user_folder() / "by-address"
    server.close()
    matches = tmp_path / "m.json"
    done = dcc("match", "--model", address, *pictures[:2], "-o", matches)
    assert done.returncode == 0 and matches.is_file() and "fetching" not in done.stderr
    assert dcc("info", address, "--json").returncode == 0
    (row,) = [row for row in json.loads(dcc("models", "--json").stdout) if row["name"] == address]
    assert row["commit"] is None and not row["built_in"]
    assert f"{address.partition('#')[0]}#sha256={address[-64:][:8]}…" in dcc("models").stdout


def test_a_model_of_the_hub_is_fetched_anew_and_listed(
    dcc: Cli, server: ModelServer, pictures: list[Path]
) -> None:
    done = dcc("match", "hf:someone/small", *pictures[:2], "--json")
    assert done.returncode == 0 and "fetching hf:someone/small" in done.stderr
    json.loads(done.stdout)
    server.commits["main"] = server.commits["e" * 40] = "e" * 40
    assert dcc("models", "fetch", "hf:someone/small").returncode == 0
    assert ("e" * 12) in dcc("models").stdout


def test_build_leaves_kept_models_alone_and_says_what_it_fetches(
    server: ModelServer, bundle: Bundle, tmp_path: Path
) -> None:
    from tests.helpers.emulation import emulated  # which needs onnx

    server.repositories["someone/plain"] = {file.name: file.read_bytes() for file in bundle.path.iterdir()}
    with emulated(tmp_path / "cache"):
        refused = CliRunner().invoke(build, ["hf:someone/plain"])
        assert isinstance(refused.exception, UsageError) and "name a folder" in str(refused.exception)
        assert not server.requests
        done = CliRunner().invoke(build, ["hf:someone/plain", "-o", str(tmp_path / "plans")])
        assert done.exit_code == 0 and "fetching hf:someone/plain" in done.output
        assert len(list((tmp_path / "plans").glob("*.engine"))) == 2
        refused = CliRunner().invoke(build, [DEFAULT])
        assert isinstance(refused.exception, UsageError) and "name a folder" in str(refused.exception)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (
            ("match", "--model", "https://x.org/b.zip", "a.jpg", "b.jpg"),
            2,
            "with the SHA-256 of the file only",
        ),
        (("info", "hf:nobody/nothing"), 1, "there is no such repository"),
        (("models", "fetch", "small-1"), 2, "is no address"),
    ],
)
def test_commands_say_what_is_wrong(
    dcc: Cli, server: ModelServer, arguments: tuple[str, ...], code: int, sentence: str
) -> None:
    done = dcc(*arguments)
    one_sentence(done, code, sentence)


def test_what_is_missing_is_named(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DccError, match=r"needs huggingface_hub: " + re.escape(install("hub"))):
        open_bundle("hf:someone/small")
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(DccError, match=r"needs pooch: " + re.escape(install("hub"))):
        open_bundle(publish(server, zipped(FILES)))
