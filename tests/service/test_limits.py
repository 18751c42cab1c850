"""What the service does when too much is asked, with a stub of the network behind real HTTP."""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import uvicorn

from dccnet.runtime.errors import UsageError
from dccnet.runtime.messages import show_messages
from dccnet.service.app import create_app
from dccnet.service.server import bind, run
from dccnet.service.settings import Settings
from tests.helpers.service import (
    BROKEN,
    StubBackend,
    check_problem,
    post,
    serving_app,
    stub_service,
)
from tests.helpers.small_pictures import png

PAIR = {"a": png(), "b": png()}


def value_of(url: str, name: str, headers: dict[str, str] | None = None) -> float:
    """A number of ``/metrics``."""
    text = requests.get(f"{url}/metrics", timeout=60, headers=headers).text
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{name} "))


def wait_for(url: str, name: str, value: float) -> None:
    until = time.monotonic() + 30
    while value_of(url, name) != value:
        assert time.monotonic() < until, name
        time.sleep(0.005)


@pytest.fixture
def held() -> Iterator[StubBackend]:
    """A stub that does not answer before it is set free."""
    backend = StubBackend()
    backend.free.clear()
    yield backend
    backend.free.set()


def ask(url: str) -> requests.Response:
    return post(f"{url}/v1/match", {"points": "[[1, 2]]"}, **PAIR)


def test_more_views_than_the_server_matches_are_refused() -> None:
    with serving_app(stub_service(views=3)) as url:
        for address, pictures in (("match", PAIR), ("references", {"a": PAIR["a"]})):
            refused = post(f"{url}/v1/{address}", {"views": "8"}, **pictures)
            check_problem(refused, 422, "this server matches at most 3 views of a pair, not 8")
        assert post(f"{url}/v1/match", {"views": "3"}, **PAIR).status_code == 200


def test_what_is_more_than_the_queue_gets_503_and_when_to_come_again(held: StubBackend) -> None:
    with serving_app(stub_service(held, queue=2)) as url, ThreadPoolExecutor(2) as clients:
        waiting = [clients.submit(ask, url) for _ in range(2)]
        wait_for(url, "dcc_requests_inside", 2)
        refused = ask(url)
        check_problem(refused, 503, "as many requests as it can answer")
        assert int(refused.headers["Retry-After"]) >= 1
        assert requests.get(f"{url}/healthz", timeout=60).status_code == 200
        held.free.set()
        assert [answer.result().status_code for answer in waiting] == [200, 200]
        assert ask(url).status_code == 200
        assert value_of(url, 'dcc_refused_total{reason="queue"}') == 1


def test_what_takes_longer_than_the_deadline_is_given_up(held: StubBackend) -> None:
    with serving_app(stub_service(held, timeout_s=0.2, batch=1)) as url, ThreadPoolExecutor(2) as clients:
        for answer in [clients.submit(ask, url) for _ in range(2)]:
            check_problem(answer.result(), 503, "not answered within 0.2 s")
        held.free.set()
        wait_for(url, "dcc_queue_jobs", 0)
        assert ask(url).status_code == 200
        assert len(held.runs) == 2  # the second of those that were given up was never computed


def test_requests_that_wait_together_are_one_batch(held: StubBackend) -> None:
    with serving_app(stub_service(held, batch=3)) as url, ThreadPoolExecutor(5) as clients:
        first = clients.submit(ask, url)
        wait_for(url, "dcc_batch_jobs_count", 1)
        others = [clients.submit(ask, url) for _ in range(4)]
        wait_for(url, "dcc_queue_jobs", 4)
        held.free.set()
        assert {answer.result().status_code for answer in (first, *others)} == {200}
        assert held.runs == [1, 3, 1]


def test_a_pair_that_fails_does_not_fail_those_beside_it(
    held: StubBackend, capfd: pytest.CaptureFixture[str]
) -> None:
    show_messages()  # as the command does
    with serving_app(stub_service(held, batch=4)) as url, ThreadPoolExecutor(4) as clients:
        first = clients.submit(ask, url)
        wait_for(url, "dcc_batch_jobs_count", 1)
        broken = clients.submit(post, f"{url}/v1/match", None, a=png(BROKEN), b=png())
        others = [clients.submit(ask, url) for _ in range(2)]
        wait_for(url, "dcc_queue_jobs", 3)
        held.free.set()
        assert {answer.result().status_code for answer in (first, *others)} == {200}
        check_problem(broken.result(), 500, "the server failed")
        assert "secret" not in broken.result().text  # the path is for the log alone
    assert "/secret/folder/encoder.onnx failed" in capfd.readouterr().err


def test_a_stopping_service_refuses_and_says_so() -> None:
    service = stub_service()
    with serving_app(service) as url:
        assert requests.get(f"{url}/readyz", timeout=60).json() == {"status": "ready"}
        service.stop()
        check_problem(ask(url), 503, "being stopped")
        check_problem(requests.get(f"{url}/readyz", timeout=60), 503, "being stopped")
        assert requests.get(f"{url}/healthz", timeout=60).status_code == 200


def sent(url: str, blocks: Iterator[bytes]) -> http.client.HTTPResponse:
    """The response to a body without a declared length."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    headers = {"Content-Type": "multipart/form-data; boundary=x", "Transfer-Encoding": "chunked"}
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        connection.request("POST", "/v1/match", blocks, headers, encode_chunked=True)
    return connection.getresponse()


START = b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n'


def test_a_body_without_an_end_is_cut_while_it_comes_in() -> None:
    def endless() -> Iterator[bytes]:
        yield START
        for _ in range(30):  # 1.5 times the limit
            yield bytes(50_000)

    with serving_app(stub_service(body_bytes=1_000_000)) as url:
        response = sent(url, endless())
        assert response.status == 413 and response.getheader("Connection") == "close"
        assert "more than 1000000 bytes" in json.loads(response.read())["detail"]
        assert ask(url).status_code == 200


def test_a_body_that_does_not_arrive_is_given_up() -> None:
    with serving_app(stub_service(receive_s=0.2)) as url:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        connection.putrequest("POST", "/v1/match")
        connection.putheader("Content-Type", "multipart/form-data; boundary=x")
        connection.putheader("Content-Length", "1000")
        connection.endheaders(START)
        response = connection.getresponse()
        assert response.status == 408
        assert "did not arrive within 0.2 s" in json.loads(response.read())["detail"]
        assert value_of(url, "dcc_requests_inside") == 0


def test_the_token_is_asked_for_everywhere_but_where_nothing_is_secret() -> None:
    right = {"Authorization": "Bearer s3cret"}
    with serving_app(stub_service(token="s3cret")) as url:
        for path in ("/", "/healthz", "/readyz", "/openapi.json", "/page/service.js"):
            assert requests.get(url + path, timeout=60).status_code == 200, path
        for headers, says in (
            ({}, "wants a token"),
            ({"Authorization": "Bearer wrong"}, "this token is wrong"),
            ({"Authorization": "Basic s3cret"}, "this token is wrong"),
            ({"Authorization": "Bearer s3cret2"}, "this token is wrong"),
            ({"Authorization": "Bearer \xe9".encode("latin-1")}, "this token is wrong"),
        ):
            for method, path in (("GET", "/v1/model"), ("GET", "/metrics"), ("POST", "/v1/match")):
                answer: Any = requests.request(method, url + path, headers=headers, timeout=60)
                check_problem(answer, 401, says)
                assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert requests.get(f"{url}/v1/model", headers=right, timeout=60).status_code == 200
        assert value_of(url, 'dcc_requests_total{route="/v1/model",status="200"}', right) == 1
    with pytest.raises(UsageError, match="DCC_TOKEN is empty"):
        Settings(token="")


def test_a_name_that_is_allowed_is_known_in_any_spelling_and_probes_need_none() -> None:
    with serving_app(stub_service(host_names=("Pictures.example:8000",))) as url:
        for host, status in (("pictures.example", 200), ("PICTURES.example:80", 200), ("127.0.0.1", 421)):
            assert requests.get(f"{url}/v1/model", headers={"Host": host}, timeout=60).status_code == status
        for path in ("/healthz", "/readyz"):
            assert requests.get(url + path, timeout=60).status_code == 200


def test_references_make_room_for_others() -> None:
    service = stub_service(reference_bytes=30_000)  # three of them
    with serving_app(service) as url:
        ids = [post(f"{url}/v1/references", a=png()).json()["id"] for _ in range(4)]
        assert len(set(ids)) == 4 and value_of(url, "dcc_references") == 3 == len(service.references)
        check_problem(post(f"{url}/v1/references/{ids[0]}/match", b=png()), 404, "no reference of this id")
        found = post(f"{url}/v1/references/{ids[3]}/match", {"draw": "grid"}, b=png()).json()
        assert len(found["mutual"]["scores"]) == 484 and found["drawing"].startswith("data:image/jpeg")
        assert value_of(url, 'dcc_references_removed_total{reason="size"}') == 1
        assert value_of(url, 'dcc_reference_lookups_total{result="hit"}') == 1
        assert 0 < value_of(url, "dcc_reference_bytes") <= 30_000


def test_a_reference_larger_than_the_room_is_refused() -> None:
    with serving_app(stub_service(reference_bytes=100)) as url:
        check_problem(post(f"{url}/v1/references", a=png()), 422, "more than this server keeps")


def test_a_request_that_would_wait_too_long_is_refused_at_once() -> None:
    service = stub_service()
    service.batcher.seconds_per_job = 20.0
    service.gate.inside = 2
    with serving_app(service) as url:
        refused = ask(url)
        check_problem(refused, 503)
        assert refused.headers["Retry-After"] == "40"
        service.gate.inside = 0
        assert ask(url).status_code == 200


def test_many_clients_of_one_stub_lose_nothing() -> None:
    backend, count = StubBackend(0.002), 24
    with serving_app(stub_service(backend)) as url, ThreadPoolExecutor(4) as clients:
        statuses = list(clients.map(lambda _: ask(url).status_code, range(count)))
        assert statuses == [200] * count and sum(backend.runs) == count
        assert threading.active_count() < 60


def test_a_signal_before_the_server_runs_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped: list[int] = []
    serve = uvicorn.Server.run

    def late(server: uvicorn.Server, sockets: Any) -> None:
        signal.raise_signal(signal.SIGTERM)
        rescue = threading.Timer(20, lambda: setattr(server, "should_exit", True))
        rescue.start()
        serve(server, sockets)
        rescue.cancel()

    monkeypatch.setattr(uvicorn.Server, "run", late)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with bind("127.0.0.1", 0) as bound:
            run(create_app(stub_service()), bound, 1, lambda: stopped.append(1))
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert stopped
