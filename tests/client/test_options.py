import math
from typing import get_args, get_type_hints

import pytest
from pydantic import BaseModel

from client.options import CallOptions, Format, StylizeOptions, UpscaleOptions, mixture, query
from service.errors import InvalidRequest
from service.http.routes.jobs import JobParameters
from service.imaging.codecs import EXTENSIONS, WRITTEN_FORMATS
from service.pipeline.requests import StylizeParameters, UpscaleParameters
from service.pipeline.stylize import parse_mixture


@pytest.mark.parametrize(
    ("options", "parameters"),
    [(StylizeOptions, StylizeParameters), (UpscaleOptions, UpscaleParameters)],
)
def test_options_are_those_of_the_service(options: type, parameters: type[BaseModel]) -> None:
    assert get_type_hints(options).keys() == parameters.model_fields.keys()


def test_options_of_a_job_are_those_of_both_calls() -> None:
    assert get_type_hints(CallOptions).keys() == JobParameters.model_fields.keys() - {"style", "scale"}


@pytest.mark.parametrize("kind", [StylizeOptions, UpscaleOptions])
def test_service_accepts_every_choice(kind: type) -> None:
    parameters = StylizeParameters if kind is StylizeOptions else UpscaleParameters
    for name, hint in get_type_hints(kind).items():
        for choice in get_args(hint):
            if isinstance(choice, str):
                parameters.model_validate({name: choice})


def test_formats_are_those_of_the_service() -> None:
    assert set(get_args(Format)) == {*map(str, WRITTEN_FORMATS), *EXTENSIONS}


def test_query_has_what_is_given() -> None:
    options: StylizeOptions = {"strength": 0.5, "preserve_color": True, "size": None, "format": "webp"}
    assert query(options) == {"strength": "0.5", "preserve_color": "true", "format": "webp"}


def test_mixture_is_understood_by_the_service() -> None:
    assert mixture("wave") == "wave"
    assert parse_mixture(mixture({"wave": 3, "scream": 1e-5})) == pytest.approx({"wave": 1, "scream": 0}, abs=1e-5)


@pytest.mark.parametrize("unit", [1e-300, 1e-7, 0.05, 1, 999_999, 1e6, 1e300])
def test_weights_of_any_size_are_parts_of_their_sum(unit: float) -> None:
    given = {"wave": unit, "scream": unit / 4}
    assert parse_mixture(mixture(given)) == pytest.approx({"wave": 0.8, "scream": 0.2})


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_weight_that_is_none_is_refused_as_it_is(weight: float) -> None:
    with pytest.raises(InvalidRequest, match=f"has the weight '{weight}"):
        parse_mixture(mixture({"wave": 0.5, "scream": weight}))
