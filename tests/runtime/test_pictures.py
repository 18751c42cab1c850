"""Pictures as cameras and people have them: damaged, turned, dark, with palettes, and sets of them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest

from dccnet.runtime.arrays import Image
from dccnet.runtime.errors import DccWarning, ImageError
from dccnet.runtime.images import find_images, read_image, write_image
from dccnet.runtime.native_messages import listening
from dccnet.runtime.video.mask_files import encode_mask, read_mask
from tests.helpers.commands import Cli

KINDS = {
    "baseline": [],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "restart markers": [cv2.IMWRITE_JPEG_RST_INTERVAL, 4],
}


def jpeg(image: Image, kind: str) -> bytes:
    return cv2.imencode(".jpg", image, KINDS[kind])[1].tobytes()


def first_segment(data: bytes) -> int:
    """Where the segment after JFIF's begins."""
    return 4 + int.from_bytes(data[4:6], "big")


@pytest.mark.parametrize("kind", KINDS)
def test_stray_bytes_that_libjpeg_skips_do_no_harm(photos: list[Image], tmp_path: Path, kind: str) -> None:
    data, path = jpeg(photos[0], kind), tmp_path / "a.jpg"
    path.write_bytes(data)
    whole = read_image(path)
    place, stray = first_segment(data), b"\x01\x02\x00\x03\x04"
    for changed in (
        data[:place] + stray + data[place:],
        data[:-2] + stray * 20 + data[-2:],
        data[:-2] + bytes(20) + data[-2:],
        data[:-2],  # some cameras leave the end out
        data + b"\0" * 5000,
    ):
        path.write_bytes(changed)
        np.testing.assert_array_equal(read_image(path), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_jpegs_are_refused(photos: list[Image], tmp_path: Path, kind: str) -> None:
    """OpenCV returns a picture for them, and libjpeg says on stderr what is wrong."""
    data, path = jpeg(photos[0], kind), tmp_path / "a.jpg"
    half = len(data) // 2
    for changed in (
        data[:half],
        data[: len(data) * 95 // 100],
        data[:half] + bytes(2048) + data[half + 2048 :],
        data[:half] + data[half + 700 :],
        data[:half] + bytes(len(data) - half - 2) + data[-2:],
    ):
        path.write_bytes(changed)
        with pytest.raises(ImageError, match=r"a\.jpg is truncated"):
            read_image(path)


def test_other_formats_are_refused_with_the_decoders_reason(photos: list[Image], tmp_path: Path) -> None:
    data = cv2.imencode(".png", photos[0])[1].tobytes()
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(ImageError, match=r"a\.png .*damaged \(libpng error"):
        read_image(tmp_path / "a.png")
    packed = bytearray(cv2.imencode(".tif", photos[0], [cv2.IMWRITE_TIFF_COMPRESSION, 5])[1].tobytes())
    place = len(packed) // 2
    packed[place : place + 3000] = bytes(3000)
    (tmp_path / "a.tif").write_bytes(packed)
    with pytest.raises(ImageError, match=r"a\.tif"):
        read_image(tmp_path / "a.tif")
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(64))
    with pytest.raises(ImageError, match=r"a\.heic is HEIF"):
        read_image(tmp_path / "a.heic")


def exif(orientation: int) -> bytes:
    """TIFF data with one entry, 274."""
    return b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([orientation, 0, 0, 0]) + bytes(4)


@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_a_webp_is_turned_as_its_exif_data_say(tmp_path: Path, prefix: bytes) -> None:
    """With JPEG's prefix, which several programs write, OpenCV did not turn it."""
    image = np.zeros((120, 160, 3), np.uint8)
    image[:, :40] = 255
    plain = cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()[12:]
    size = (159).to_bytes(3, "little") + (119).to_bytes(3, "little")
    extended = b"VP8X" + (10).to_bytes(4, "little") + b"\x08\0\0\0" + size
    content = prefix + exif(6)
    body = b"WEBP" + extended + plain + b"EXIF" + len(content).to_bytes(4, "little") + content
    (tmp_path / "a.webp").write_bytes(b"RIFF" + len(body).to_bytes(4, "little") + body)
    turned = read_image(tmp_path / "a.webp")
    assert turned.shape == (160, 120, 3) and turned[:39].min() == 255 and turned[41:].max() == 0


def test_a_16_bit_picture_that_becomes_nearly_black_gives_a_warning(tmp_path: Path) -> None:
    values = np.tile(np.arange(160, dtype=np.uint16) * 25, (120, 1))  # 12 of 16 bits
    cv2.imwrite(str(tmp_path / "twelve.png"), values)
    with pytest.warns(DccWarning, match=r"twelve\.png has 16 bits, .* is 3975 of 65535"):
        image = read_image(tmp_path / "twelve.png")
    np.testing.assert_array_equal(image[..., 0], values >> 8)
    for suffix in ("png", "tif"):
        cv2.imwrite(str(tmp_path / f"bright.{suffix}"), values * 16)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            image = read_image(tmp_path / f"bright.{suffix}")
        np.testing.assert_array_equal(image[..., 0], values * 16 >> 8)
    cv2.imwrite(str(tmp_path / "float.tif"), np.ones((4, 5, 3), np.float32))
    with pytest.raises(ImageError, match="float32"):
        read_image(tmp_path / "float.tif")


def test_commands_show_a_warning_as_one_line(dcc: Cli, pictures: list[Path], tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "dark.png"), np.full((48, 64), 900, np.uint16))
    result = dcc("match", pictures[0], tmp_path / "dark.png", "--json")
    assert result.returncode == 0
    assert f"warning: {tmp_path}/dark.png has 16 bits" in result.stderr and ".py:" not in result.stderr


# Masks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "labels"), [(1, 2), (2, 4), (4, 16), (8, 21)])
def test_a_mask_with_a_palette_keeps_its_labels_and_its_palette(
    tmp_path: Path, bits: int, labels: int
) -> None:
    """DAVIS and PASCAL VOC: label 1 became the colour (128, 0, 0)."""
    picture = pytest.importorskip("PIL.Image")
    values = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16) % labels
    palette = [(37 * i) % 256 for i in range(3 * labels)]
    mask = picture.fromarray(values, "P")
    mask.putpalette(palette)
    mask.save(tmp_path / "mask.png", bits=bits, transparency=0)
    read, kept = read_mask(tmp_path / "mask.png")
    np.testing.assert_array_equal(read, values)
    (tmp_path / "out.png").write_bytes(encode_mask(values[::-1].copy(), kept))
    opened = picture.open(tmp_path / "out.png")
    assert opened.mode == "P" and opened.getpalette()[: 3 * labels] == palette
    np.testing.assert_array_equal(np.asarray(opened), values[::-1])


def test_a_cut_out_is_a_mask_by_its_transparency(tmp_path: Path) -> None:
    cut = np.full((12, 16, 4), 200, np.uint8)
    cut[..., 3] = 0
    cut[3:6, 4:9, 3] = 255
    cv2.imwrite(str(tmp_path / "cut.png"), cut)
    np.testing.assert_array_equal(read_mask(tmp_path / "cut.png")[0], cut[..., 3])
    cut[..., 3] = 255
    cv2.imwrite(str(tmp_path / "opaque.png"), cut)
    np.testing.assert_array_equal(read_mask(tmp_path / "opaque.png")[0], cut[..., :3])


def test_a_mask_in_a_jpeg_gives_a_warning(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "mask.jpg"), np.full((12, 16), 255, np.uint8))
    with pytest.warns(DccWarning, match="save masks as PNG"):
        read_mask(tmp_path / "mask.jpg")


# Sets of pictures ------------------------------------------------------------------------------


def names(found: list[Path]) -> list[str]:
    return [path.name for path in found]


def test_a_set_is_in_natural_order_and_without_hidden_files(tmp_path: Path) -> None:
    folder = tmp_path / "[exp1] frames"
    folder.mkdir()
    picture = np.zeros((4, 5, 3), np.uint8)
    for number in (1, 2, 10):
        write_image(folder / f"{number}.png", picture)
        (folder / f"._{number}.png").write_bytes(b"\0\x05\x16\x07")  # macOS on exFAT
    for name in ("notes.txt", "3.heic", "4.JFIF", "5.gif"):
        (folder / name).touch()
    (folder / "old.png").mkdir()
    ordered = ["1.png", "2.png", "3.heic", "4.JFIF", "5.gif", "10.png"]
    assert names(find_images(folder)) == ordered
    assert names(find_images(folder / "*")) == ordered
    assert names(find_images(folder / "*.png")) == ["1.png", "2.png", "10.png"]
    write_image(tmp_path / "a[1].png", picture)
    write_image(tmp_path / "a1.png", picture)
    assert names(find_images(tmp_path / "a[1].png")) == ["a[1].png"]
    assert names(find_images(tmp_path / "a[0-9].png")) == ["a1.png"]


# Messages --------------------------------------------------------------------------------------


def test_messages_are_about_the_picture_that_they_are_about(photos: list[Image], tmp_path: Path) -> None:
    """Eight threads decode whole and damaged pictures at once."""
    data = jpeg(photos[0], "baseline")
    (tmp_path / "good.jpg").write_bytes(data)
    (tmp_path / "bad.jpg").write_bytes(data[: len(data) // 2] + bytes(2048) + data[len(data) // 2 + 2048 :])
    whole, wrong = read_image(tmp_path / "good.jpg"), []

    def work(name: str) -> None:
        for _ in range(20):
            try:
                same = np.array_equal(read_image(tmp_path / name), whole)
            except ImageError:
                same = False
            if same != (name == "good.jpg"):
                wrong.append(name)

    threads = [threading.Thread(target=work, args=(("good.jpg", "bad.jpg")[i % 2],)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_others_write_to_stderr_is_passed_on() -> None:
    code = (
        "import os, sys\n"
        "from dccnet.runtime.native_messages import listening\n"
        "with listening() as heard:\n"
        "    os.write(2, b'mine, in the middle of a line')\n"
        "    os.write(2, b'\\n[h264 @ 0x55d0] error while decoding MB 19 1\\nand more\\n')\n"
        "assert heard.last == 'error while decoding MB 19 1', heard\n"
        "with listening():\n"
        "    print('the last words', file=sys.stderr, flush=True)\n"
        "    sys.exit(3)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 3
    assert result.stderr == "mine, in the middle of a line\nand more\nthe last words\n"


def test_listening_leaves_a_forked_process_its_stderr() -> None:
    with listening():
        os.write(2, b"[h264 @ 0x1] of the parent\n")
        child = os.fork()
        if not child:
            with listening() as heard:
                pass
            os._exit(0 if not heard.lines and heard.listened else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_without_a_stderr_pictures_are_read() -> None:
    code = "import sys; from dccnet.runtime.images import read_image; print(read_image(sys.argv[1]).shape)"
    picture = Path(__file__).parents[2] / "export" / "bundles" / "pictures" / "cat.jpg"
    command = f'"{sys.executable}" -c "{code}" "{picture}" 2>&-'
    result = subprocess.run(command, shell=True, stdout=subprocess.PIPE, text=True)
    assert result.returncode == 0 and result.stdout.startswith("(")


@pytest.mark.parametrize("kind", [b"P5", b"P6", b"P2"])
@pytest.mark.parametrize("largest", [100, 255, 1023, 65535])
def test_white_of_netpbm_is_the_largest_value_of_its_header(
    kind: bytes, largest: int, tmp_path: Path
) -> None:
    """OpenCV leaves most of them as they are, so that pictures of 10 and 12 bits are nearly black."""
    channels = 3 if kind == b"P6" else 1
    grey = np.linspace(0, largest, 12 * channels).astype(">u2" if largest > 255 else np.uint8)
    values = b"".join(b"%d\n" % v for v in grey.tolist()) if kind == b"P2" else grey.tobytes()
    path = tmp_path / "x.ppm"
    path.write_bytes(b"%s\n# made by hand\n4 3\n%d\n%s" % (kind, largest, values))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = read_image(path)
    wanted = grey.astype(float).reshape(3, 4, channels)[..., ::-1] * (255 / largest)
    assert np.abs(image - wanted).max() <= 1


def pam(kind: str, largest: int, values: np.ndarray) -> bytes:
    height, width, depth = values.shape
    header = f"P7\n# by hand\nWIDTH {width}\nHEIGHT {height}\nDEPTH {depth}\nMAXVAL {largest}\n"
    stored = values.astype(">u2" if largest > 255 else np.uint8).tobytes()
    return (header + f"TUPLTYPE {kind}\nENDHDR\n").encode() + stored


@pytest.mark.parametrize(
    ("kind", "channels", "largest"),
    [
        ("BLACKANDWHITE", 1, 1),
        ("BLACKANDWHITE_ALPHA", 2, 1),
        ("GRAYSCALE", 1, 15),
        ("GRAYSCALE_ALPHA", 2, 1023),
        ("RGB", 3, 100),
        ("RGB", 3, 65535),
        ("RGB_ALPHA", 4, 255),
    ],
)
def test_white_of_pam_is_the_largest_value_of_its_header(
    kind: str, channels: int, largest: int, tmp_path: Path
) -> None:
    """OpenCV leaves values as they are, and takes the samples of black and white for packed bits."""
    values = np.linspace(0, largest, 12 * channels).round().reshape(3, 4, channels)
    path = tmp_path / "x.pam"
    path.write_bytes(pam(kind, largest, values))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = read_image(path)
    colours = values[..., 2::-1] if channels > 2 else values[..., :1]
    assert image.dtype == np.uint8 and image.shape == (3, 4, 3)
    assert np.abs(image - colours * (255 / largest)).max() <= 1


def test_a_pam_mask_keeps_its_labels_and_its_transparency(tmp_path: Path) -> None:
    path = tmp_path / "mask.pam"
    labels = np.arange(12).reshape(3, 4, 1)
    path.write_bytes(pam("GRAYSCALE", 15, labels))
    np.testing.assert_array_equal(read_mask(path)[0], labels[..., 0])
    path.write_bytes(pam("BLACKANDWHITE", 1, labels % 2))
    np.testing.assert_array_equal(read_mask(path)[0], labels[..., 0] % 2)
    cut_out = np.dstack([labels] * 4)
    path.write_bytes(pam("RGB_ALPHA", 255, cut_out))
    np.testing.assert_array_equal(read_mask(path)[0], labels[..., 0])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"P7\nWIDTH 4\n", "no end"),
        (b"P7\nWIDTH 4\nENDHDR\n1234", "lacks the width"),
        (pam("RGB", 255, np.zeros((3, 4, 3)))[:-1], "truncated"),
        (pam("CMYK", 255, np.zeros((3, 4, 4))), r"4 channels \(CMYK\)"),
        (pam("RGB", 0, np.zeros((3, 4, 3))), "too small"),
        (b"P5\n#" + b"x" * (1 << 16) + b"\n4 2\n255\n12345678", "too long"),
    ],
)
def test_netpbm_pictures_that_cannot_be_read_give_a_reason(
    data: bytes, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.pam"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=reason):
        read_image(path)


def test_a_pam_picture_has_a_limit_of_pixels(tmp_path: Path) -> None:
    path = tmp_path / "x.pam"
    path.write_bytes(pam("RGB", 255, np.zeros((1, 1, 3))).replace(b"WIDTH 1", b"WIDTH 999999999"))
    with pytest.raises(ImageError, match="--max-pixels"):
        read_image(path)
