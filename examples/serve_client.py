"""A client of `dcc serve`, in Python's own library alone: encode a reference once, match it with others.

dcc serve --port 8000
python serve_client.py http://127.0.0.1:8000 REFERENCE "X,Y" PICTURE...
"""

import json
import os
import sys
import urllib.error
import urllib.request
import uuid
from pathlib import Path


def post(address: str, fields: dict[str, bytes]) -> dict:
    """Send a form; a field that is named a or b is a picture."""
    border = uuid.uuid4().hex
    body = b""
    for name, value in fields.items():
        file = f'; filename="{name}"' if name in ("a", "b") else ""
        body += (
            f'--{border}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
            + value
            + b"\r\n"
        )
    body += f"--{border}--\r\n".encode()
    request = urllib.request.Request(
        address, body, {"Content-Type": f"multipart/form-data; boundary={border}"}
    )
    if "DCC_TOKEN" in os.environ:
        request.add_header("Authorization", f"Bearer {os.environ['DCC_TOKEN']}")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        sys.exit(json.load(error)["detail"])  # one sentence
    except urllib.error.URLError as error:
        sys.exit(f"{address}: {error.reason}")


def main(server: str, reference: str, point: str, *paths: str) -> None:
    points = json.dumps([[float(number) for number in point.split(",")]]).encode()
    kept = post(f"{server}/v1/references", {"a": Path(reference).read_bytes()})
    for path in paths:
        fields = {"b": Path(path).read_bytes(), "points": points}
        found = post(f"{server}/v1/references/{kept['id']}/match", fields)["points"]
        print(path, found["points_b"][0], found["confidence"][0])


if __name__ == "__main__":
    main(*sys.argv[1:])
