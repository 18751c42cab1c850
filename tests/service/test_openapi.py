"""The service keeps what its own OpenAPI document says: schemathesis asks it for everything in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.helpers.service import post, serving_app, stub_service
from tests.helpers.small_pictures import png


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving_app(stub_service(queue=64)) as url:
        yield url


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


def test_every_address_answers_as_it_is_described(url: str) -> None:
    asked = set()
    for found in schemathesis.openapi.from_url(f"{url}/openapi.json").get_all_operations():
        operation = found.ok()
        asked.add(operation.label)

        @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
        @given(case=operation.as_strategy())
        def ask(case: Any) -> None:
            case.call_and_validate(checks=CHECKS)

        ask()
    assert len(asked) == 8


def test_every_address_is_described_with_examples(url: str) -> None:
    described = requests.get(f"{url}/openapi.json", timeout=60).json()
    assert set(described["paths"]) == {
        *("/v1/match", "/v1/references", "/v1/references/{id}/match", "/v1/references/{id}"),
        *("/v1/model", "/healthz", "/readyz", "/metrics"),
    }
    fields = described["components"]["schemas"]["Body_match_v1_match_post"]["properties"]
    assert fields["points"]["examples"] == ["[[120, 80], [33.5, 7]]"]
    problem = described["paths"]["/v1/match"]["post"]["responses"]["422"]["content"]
    assert "application/problem+json" in problem


def test_answers_have_the_described_fields(url: str) -> None:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    fields = {"points": "[[1, 2]]", "mutual": "true", "draw": "lines"}
    response = post(f"{url}/v1/match", fields, a=png(), b=png())
    schema["/v1/match"]["POST"].validate_response(response)
    assert {"points", "mutual", "drawing", "size_a", "schema", "model", "transfer"} <= set(response.json())
    added = post(f"{url}/v1/references", a=png())
    schema["/v1/references"]["POST"].validate_response(added)
