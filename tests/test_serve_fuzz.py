"""Whatever is sent to a route, the answer is one that the OpenAPI document names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation.hypothesis.builder import (
    HypothesisTestConfig,
    HypothesisTestMode,
    create_test,
)
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from cliphouse.errors import PictureError
from cliphouse.server.app import create_app
from cliphouse.server.service import Service
from cliphouse.server.settings import ServeSettings
from serving import Drawn, Served, serving

CASES = 30  # of each route; raise it to look harder
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
schema = schemathesis.openapi.from_dict(create_app(ServeSettings()).openapi())
operations = [found.ok() for found in schema.get_all_operations()]


@pytest.fixture(scope="module")
def served(drawn: Drawn) -> Iterator[Served]:
    settings = ServeSettings(db=str(drawn.db), pictures=(drawn.pictures,))

    def fetch(url: str) -> bytes:
        raise PictureError(f"{url}: nothing is fetched in this test")

    with serving(settings, Service(settings, fetch)) as running:
        yield running


@pytest.mark.parametrize("operation", operations, ids=lambda operation: operation.label)
def test_no_case_of_the_document_fails(served: Served, operation: APIOperation) -> None:
    """What schema.parametrize() does. That makes its thousands of cases when tests are collected,
    which every process does for all tests."""

    @settings(
        max_examples=CASES,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def call(case: schemathesis.Case) -> None:
        case.call_and_validate(base_url=served.url, checks=CHECKS)

    config = HypothesisTestConfig(schema.config, list(HypothesisTestMode))
    create_test(operation=operation, test_func=call, config=config)()
