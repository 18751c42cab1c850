"""Passwords in addresses are not printed."""

from __future__ import annotations

import pytest

from dccnet.runtime.addresses import without_secrets
from dccnet.runtime.errors import VideoError
from dccnet.runtime.video.sources import open_source


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("rtsp://admin:S3cret@127.0.0.1:9/x", "rtsp://***@127.0.0.1:9/x"),
        ("rtsp://admin:p@ss@host/x", "rtsp://***@host/x"),
        ("http://host/v.mjpg?user=a&password=S3cret&fps=5", "http://host/v.mjpg?user=a&password=***&fps=5"),
        ("https://host/a.zip?X-Amz-Signature=S3cret", "https://host/a.zip?X-Amz-Signature=***"),
        ("https://host/@handle/v.mp4?t=3", "https://host/@handle/v.mp4?t=3"),
        ("rtsp://host/password=S3cret&user=admin", "rtsp://host/password=***&user=admin"),
        ("http://host/cgi?loginuse=admin&loginpas=S3cret", "http://host/cgi?loginuse=admin&loginpas=***"),
        ("https://host/x#access_token=S3cret", "https://host/x#access_token=***"),
        ("https://host/b.zip#sha256=0123", "https://host/b.zip#sha256=0123"),
        ("runs/sigma=0.5/key=3/a.mp4", "runs/sigma=0.5/key=3/a.mp4"),
        ("no frame of rtsp://a:b@c/d for 10 s", "no frame of rtsp://***@c/d for 10 s"),
    ],
)
def test_secrets_are_replaced(address: str, shown: str) -> None:
    assert without_secrets(address) == shown
    assert without_secrets(shown) == shown


def test_a_camera_that_cannot_be_opened_does_not_tell_its_password() -> None:
    with pytest.raises(VideoError, match=r"rtsp://\*\*\*@127\.0\.0\.1:9/x cannot be opened") as caught:
        list(open_source("rtsp://admin:S3cret@127.0.0.1:9/x").frames)
    assert "S3cret" not in str(caught.value)
