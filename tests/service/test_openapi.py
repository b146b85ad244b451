"""The description of the API, held against the API by a program that believes every word of it."""

import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import APIOperation, BaseSchema, Case, CheckFunction, GenerationMode
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import positive_data_acceptance

from tests.service.imaging.images import file, photo
from tests.service.live import Live, publish, publish_upscaler, serving_clients

Operation = APIOperation[Any, Any, Any, Any]

EXAMPLES = 4
"""For each operation, good and bad ones; always the same."""

THERE = {"style": "wave", "scale": 4, "name": "wave", "kind": "overloaded", "id": "mine"}
"""What can be named in paths; what else schemathesis thinks of is 404."""


def load_modules() -> None:
    """All that schemathesis loads when it is first used: Python 3.11 cannot always, while hypothesis runs."""
    for name in ("generation", "python", "specs.openapi"):
        package = importlib.import_module(f"schemathesis.{name}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)


def test_service_does_what_its_description_says(tmp_path: Path) -> None:
    publish(tmp_path, "wave", preview=file(photo()))
    publish_upscaler(tmp_path)
    for kind in ("png", "jpeg", "webp"):
        schemathesis.openapi.media_type(f"image/{kind}", st.just(file(photo(), kind.upper())))
    with serving_clients(tmp_path) as live:
        assert live.client.put("/v1/jobs/mine?style=wave", content=file(photo())).status_code == 201
        live.until("/v1/jobs/mine", lambda answer: answer.json()["state"] == "succeeded")
        schema: BaseSchema = schemathesis.openapi.from_url(f"{live.url}/openapi.json")
        load_modules()
        operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
        assert len(operations) == sum(len(path) for path in live.service.app.openapi()["paths"].values()) >= 15
        for operation in operations:
            check(live, operation, GenerationMode.POSITIVE)
            if not takes_any_text(operation):  # of which it takes hundreds of attempts to find nothing wrong
                with suppress(Unsatisfiable):  # a version may be any text, too
                    check(live, operation, GenerationMode.NEGATIVE)
        assert live.metric("pastiche_http_requests_total", code="500") == 0
        assert live.metric("pastiche_http_requests_total", code="422") > len(operations)
        assert live.metric("pastiche_http_requests_total", code="200") > len(operations)


def test_description_promises_what_can_be_answered(tmp_path: Path) -> None:
    publish(tmp_path, "wave")
    with serving_clients(tmp_path) as live:
        document = live.client.get("/openapi.json").json()
    assert not set(nested_names(document)) & {"gt", "ge", "lt", "le", "allow_inf_nan", "max_length", "min_length"}
    parameters = document["paths"]["/v1/stylize/{style}"]["post"]["parameters"]
    timeout = next(each for each in parameters if each["name"] == "X-Request-Timeout")
    assert timeout["schema"]["exclusiveMinimum"] == 0
    statuses = {path: set(next(iter(each.values()))["responses"]) for path, each in document["paths"].items()}
    refusals = {"401", "403", "421", "429"}
    for path in ("/livez", "/readyz", "/v2/health/live", "/v2/health/ready"):
        assert statuses[path] == {"200", "422", "503"}
    assert statuses["/problems"] & refusals == {"421", "429"}
    assert statuses["/v2/models/{name}"] >= refusals
    assert "503" in statuses["/v1/models/{name}"]  # while it is being loaded
    assert all("408" in statuses[path] for path in statuses if path.startswith("/v1/admin"))


def test_unknown_parameter_is_refused_by_every_call_as_described(tmp_path: Path) -> None:
    publish(tmp_path, "wave")
    with serving_clients(tmp_path) as live:
        paths = live.client.get("/openapi.json").json()["paths"]
        called = [(path, method) for path in paths if not path.startswith("/v1/admin") for method in paths[path]]
        for path, method in called:
            answer = live.client.request(method, f"{path.format(**THERE, version=1)}?unknown=1")
            assert answer.status_code == 422, (method, path, answer.text)
            assert answer.headers["Content-Type"] in paths[path][method]["responses"]["422"]["content"]


def nested_names(value: Any) -> Iterator[str]:
    """The names of all members of JSON, at any depth."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in members:
        yield str(name)
        yield from nested_names(member)


def takes_any_text(operation: Operation) -> bool:
    """Whether nothing can be wrong: there is no body, and no parameter but names of any text in the path."""
    parameters = operation.definition.raw.get("parameters", [])
    texts = [each["schema"].get("type") == "string" and "pattern" not in each["schema"] for each in parameters]
    return not operation.body and all(each["in"] == "path" for each in parameters) and all(texts)


def check(live: Live, operation: Operation, mode: GenerationMode) -> None:
    """Ask a few questions and compare the answers with the description."""
    # The description cannot say which bytes are an image, nor which parameters do not go together.
    unfit: list[CheckFunction] = [positive_data_acceptance] if operation.body else []

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(case=operation.as_strategy(generation_mode=mode), there=st.booleans())
    def conforms(case: Case[Any], there: bool) -> None:
        if there and mode is GenerationMode.POSITIVE:
            case.path_parameters = {
                name: THERE.get(name, value) for name, value in (case.path_parameters or {}).items()
            }
        case.call_and_validate(base_url=live.url, excluded_checks=unfit)

    conforms()
