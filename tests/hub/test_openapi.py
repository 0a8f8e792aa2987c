"""The OpenAPI document, made from the declarations."""

from __future__ import annotations

import pytest

from undrift.core.errors import Conflict
from undrift.operations import all_operations


@pytest.fixture
def document(http):
    answer = http.get("/api/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def test_the_document_is_valid_openapi_3_1(document):
    validator = pytest.importorskip("openapi_spec_validator", reason="it comes with moto, a development dependency")
    assert document["openapi"].startswith("3.1")
    validator.validate(document)


def test_every_operation_is_described_at_its_address(document):
    for operation in all_operations().values():
        found = document["paths"][f"/api/v1{operation.path}"]["get" if operation.reads else "post"]
        assert found["operationId"] == operation.name
        assert found["summary"] == operation.summary
        assert found["x-undrift-permission"] == operation.permission
        assert "200" in found["responses"]
        assert ("requestBody" in found) != operation.reads
    assert len(document["paths"]) == len(all_operations())


def test_every_reference_leads_somewhere(document):
    def references(value):
        if isinstance(value, dict):
            if "$ref" in value:
                yield value["$ref"]
            for one in value.values():
                yield from references(one)
        elif isinstance(value, list):
            for one in value:
                yield from references(one)

    found = set(references(document))
    assert "#/components/schemas/Problem" in found
    assert {one.rpartition("/")[2] for one in found} <= set(document["components"]["schemas"])


def test_parameters_say_what_is_required_and_what_is_meant_when_left_out(document):
    parameters = {one["name"]: one for one in document["paths"]["/api/v1/registry/list_versions"]["get"]["parameters"]}
    assert {name for name, one in parameters.items() if one["required"]} == {"project", "model"}
    assert parameters["limit"]["schema"] == {"type": "integer", "default": 100}


def test_what_an_operation_raises_is_among_its_answers(document):
    answers = document["paths"]["/api/v1/registry/move_alias"]["post"]["responses"]
    assert {"200", "400", "403", "404", "409", "503"} <= set(answers)
    assert answers["409"]["description"] == Conflict.__doc__
    assert answers["409"]["content"]["application/problem+json"]["schema"] == {"$ref": "#/components/schemas/Problem"}


def test_what_changes_something_takes_an_idempotency_key_and_says_what_it_emits(document):
    found = document["paths"]["/api/v1/registry/move_alias"]["post"]
    assert [one["name"] for one in found["parameters"]] == ["Idempotency-Key"]
    assert found["x-undrift-emits"] == ["model.alias_moved"]
