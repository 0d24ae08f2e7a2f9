"""Whatever is sent to a route, the answer is one that the OpenAPI document names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from cliphouse.errors import PictureError
from cliphouse.server.app import create_app
from cliphouse.server.service import Service
from cliphouse.server.settings import ServeSettings
from serving import Drawn, Served, serving
from thorough import IS_THOROUGH, examples

if TYPE_CHECKING:  # it takes a second to import, in every process of a parallel run
    import schemathesis
    from schemathesis.core.transport import Response
    from schemathesis.schemas import APIOperation, BaseSchema

CASES = examples(15, 30)  # of each route
LABELS = [
    f"{method.upper()} {path}"
    for path, methods in create_app(ServeSettings()).openapi()["paths"].items()
    for method in methods
]


def checks() -> list[Any]:
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    return [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_schema_conformance,
    ]


@pytest.fixture(scope="module")
def schema() -> BaseSchema:
    import schemathesis

    return schemathesis.openapi.from_dict(create_app(ServeSettings()).openapi())


@pytest.fixture(scope="module")
def operations(schema: BaseSchema) -> Mapping[str, APIOperation]:
    """The routes of the document."""
    listed = [found.ok() for found in schema.get_all_operations()]
    assert [operation.label for operation in listed] == LABELS
    return {operation.label: operation for operation in listed}


@pytest.fixture(scope="module")
def served(drawn: Drawn) -> Iterator[Served]:
    settings = ServeSettings(db=str(drawn.db), pictures=(drawn.pictures,))

    def fetch(url: str) -> bytes:
        raise PictureError(f"{url}: nothing is fetched in this test")

    with serving(settings, Service(settings, fetch)) as running:
        yield running


@pytest.mark.parametrize("label", LABELS)
def test_no_case_of_the_document_fails(
    served: Served, schema: BaseSchema, operations: Mapping[str, APIOperation], label: str
) -> None:
    """What schema.parametrize() does. That makes its thousands of cases when tests are collected,
    which every process does for all tests."""
    from schemathesis.generation.hypothesis.builder import (
        HypothesisTestConfig,
        HypothesisTestMode,
        create_test,
    )

    expected = checks()

    @settings(
        max_examples=CASES,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def call(case: schemathesis.Case) -> None:
        case.call_and_validate(base_url=served.url, checks=expected)

    # The limits of all values take four times as long, and are tried by make test-thorough.
    modes = list(HypothesisTestMode) if IS_THOROUGH else [HypothesisTestMode.FUZZING]
    config = HypothesisTestConfig(schema.config, modes)
    create_test(operation=operations[label], test_func=call, config=config)()


def test_no_chain_of_requests_fails(served: Served, schema: BaseSchema) -> None:
    """Requests that go on with what earlier answers hold, such as the ids of hits."""
    expected = checks()

    class Chain(schema.as_state_machine()):  # type: ignore[misc]
        def before_call(self, case: schemathesis.Case) -> None:
            if case.operation.label == "POST /api/search":  # few bodies by chance have an answer
                case.body = {"operands": [{"words": "a red star"}], "k": 3}

        def get_call_kwargs(self, case: schemathesis.Case) -> dict[str, Any]:
            return {"base_url": served.url}

        def validate_response(
            self, response: Response, case: schemathesis.Case, *_: object, **__: object
        ) -> None:
            case.validate_response(response, checks=expected)
            seen.add(case.operation.label)

    seen: set[str] = set()
    Chain.run(
        settings=settings(
            max_examples=examples(5, 12),
            deadline=None,
            derandomize=True,
            stateful_step_count=6,
            suppress_health_check=list(HealthCheck),
        )
    )
    assert {"POST /api/search", "GET /api/items/{id}"} <= seen, seen
