import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.networks import network
from tests.service.live import Live, file, photo, pixels, publish, publish_upscaler, serving


@contextmanager
def client(live: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_openais_client_works_unchanged(tmp_path: Path) -> None:
    publish(tmp_path)
    publish_upscaler(tmp_path)
    with serving(tmp_path) as live, client(live) as openais:
        plain = live.client.post("/v1/stylize/wave?format=webp&quality=40", content=file(photo())).content
        edited = openais.images.edit(
            model="wave",
            image=("photo.png", file(photo())),
            prompt="in the style of Hokusai",
            output_format="webp",
            output_compression=40,
            n=1,
            size="auto",
            response_format="b64_json",
        )
        assert edited.data is not None
        assert edited.data[0].b64_json is not None
        assert base64.b64decode(edited.data[0].b64_json) == plain
        assert (edited.output_format, edited.size) == ("webp", "32x24")
        assert edited.created > 1_600_000_000

        larger = openais.images.edit(model="x4", image=[file(photo())], prompt="")
        assert larger.data is not None
        assert pixels(base64.b64decode(larger.data[0].b64_json or "")).shape == (96, 128, 3)
        assert live.metric("pastiche_http_requests_total", route="/v1/images/edits", code="200") == 2


def test_failures_are_those_that_openais_client_knows(tmp_path: Path) -> None:
    publish(tmp_path)
    image = file(photo())
    with serving(tmp_path, max_body_bytes=100_000) as live, client(live) as openais:
        with pytest.raises(openai.NotFoundError) as unknown:
            openais.images.edit(model="cats", image=image, prompt="")
        assert "there are: wave" in str(unknown.value)
        with pytest.raises(openai.UnprocessableEntityError) as url:
            openais.images.edit(model="wave", image=image, prompt="", response_format="url")
        assert (url.value.code, url.value.param, url.value.type) == (
            "invalid-request",
            "response_format",
            "invalid_request_error",
        )
        assert "b64_json" in str(url.value)
        for name, value in (("n", 2), ("size", "1024x1024"), ("output_compression", 101)):
            options: dict[str, Any] = {name: value}
            with pytest.raises(openai.UnprocessableEntityError) as refused:
                openais.images.edit(model="wave", image=image, prompt="", **options)
            assert refused.value.param == name
        with pytest.raises(openai.UnprocessableEntityError, match="one image"):
            openais.images.edit(model="wave", image=[image, image], prompt="")
        with pytest.raises(openai.BadRequestError, match="mask"):
            openais.images.edit(model="wave", image=image, mask=image, prompt="")
        with pytest.raises(openai.APIStatusError) as unsupported:
            openais.images.edit(model="wave", image=b"no image", prompt="")
        assert (unsupported.value.status_code, unsupported.value.code) == (415, "unsupported-image")
        with pytest.raises(openai.APIStatusError) as large:
            openais.images.edit(model="wave", image=bytes(200_000), prompt="")
        assert large.value.status_code == 413
        wrong = live.client.get("/v1/images/edits")
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method-not-allowed")
        raw = live.client.post("/v1/images/edits", content=image)
        assert (raw.status_code, raw.json()["error"]["code"]) == (400, "malformed-body")


def test_styles_are_mixed_as_in_a_path(tmp_path: Path) -> None:
    publish(tmp_path)
    publish(tmp_path, "night", network(seed=1))
    mixed = "wave:0.7,night:0.3"
    with serving(tmp_path) as live, client(live) as openais:
        plain = live.client.post(f"/v1/stylize/{mixed}?format=png", content=file(photo())).content
        edited = openais.images.edit(model=mixed, image=file(photo()), prompt="")
        assert edited.data is not None
        assert base64.b64decode(edited.data[0].b64_json or "") == plain
        with pytest.raises(openai.NotFoundError):
            openais.images.edit(model="wave:1,cats:1", image=file(photo()), prompt="")


def test_edit_can_be_a_job(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        form: dict[str, Any] = {"data": {"model": "wave", "prompt": ""}, "files": {"image": file(photo())}}
        accepted = live.client.post("/v1/images/edits", headers={"Prefer": "respond-async"}, **form)
        assert (accepted.status_code, accepted.headers["Preference-Applied"]) == (202, "respond-async")
        where = accepted.headers["Location"]
        live.until(where, lambda answer: answer.json()["state"] == "succeeded")
        plain = live.client.post("/v1/stylize/wave?format=png", content=file(photo())).content
        assert live.client.get(f"{where}/result").content == plain


def test_openais_client_lists_the_models(tmp_path: Path) -> None:
    created = publish(tmp_path).created
    publish_upscaler(tmp_path)
    with serving(tmp_path) as live, client(live) as openais:
        models = list(openais.models.list())
    assert [model.id for model in models] == ["wave", "x4"]
    assert models[0].created == int(created.timestamp())
