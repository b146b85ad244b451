import base64
import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from PIL import Image

from tests.networks import network
from tests.service.imaging.images import file, photo
from tests.service.live import Live, pixels, publish, publish_upscaler, serving_clients


@contextmanager
def client(live: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{live.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def test_openais_client_works_unchanged(tmp_path: Path) -> None:
    publish(tmp_path)
    publish_upscaler(tmp_path)
    with serving_clients(tmp_path) as live, client(live) as openais:
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


def test_further_names_are_listed_and_found(tmp_path: Path) -> None:
    publish(tmp_path)
    publish_upscaler(tmp_path)
    names = "gpt-image-1=wave mixed=x4:1,wave:3 wave=x4 gone=cats half-gone=wave:1,cats:1"
    with serving_clients(tmp_path, openai_models=names) as live, client(live) as openais:
        dates = {model.id: model.created for model in openais.models.list()}
        assert list(dates) == ["wave", "x4", "gpt-image-1", "mixed"]
        assert (dates["gpt-image-1"], dates["mixed"]) == (dates["wave"], max(dates["wave"], dates["x4"]))
        found = {name: openais.models.retrieve(name) for name in dates}
        assert [model.id for model in found.values()] == list(dates)
        assert [(model.model_extra or {})["name"] for model in found.values()] == ["wave", "x4", "wave", "x4"]
        with pytest.raises(openai.NotFoundError):
            openais.models.retrieve("gone")
    with serving_clients(tmp_path, openai_models=names, client_apis="") as live:
        assert [model["id"] for model in live.client.get("/v1/models").json()["data"]] == ["wave", "x4"]
        assert live.client.get("/v1/models/gpt-image-1").status_code == 404


def test_failures_are_those_that_openais_client_knows(tmp_path: Path) -> None:
    publish(tmp_path)
    image = file(photo())
    with serving_clients(tmp_path, max_body_bytes=100_000) as live, client(live) as openais:
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
    with serving_clients(tmp_path) as live, client(live) as openais:
        plain = live.client.post(f"/v1/stylize/{mixed}?format=png", content=file(photo())).content
        edited = openais.images.edit(model=mixed, image=file(photo()), prompt="")
        assert edited.data is not None
        assert base64.b64decode(edited.data[0].b64_json or "") == plain
        with pytest.raises(openai.NotFoundError):
            openais.images.edit(model="wave:1,cats:1", image=file(photo()), prompt="")


def holes() -> Image.Image:
    """A mask that is transparent on its left, half transparent in the middle, and opaque on the right."""
    alpha = np.full((24, 32), 255, np.uint8)
    alpha[:, :10], alpha[:, 10:20] = 0, 128
    return Image.fromarray(np.dstack([photo(7), alpha]))


def test_mask_is_painted_where_it_is_transparent(tmp_path: Path) -> None:
    publish(tmp_path)
    grey = Image.fromarray(255 - np.asarray(holes())[..., 3])
    with serving_clients(tmp_path) as live, client(live) as openais:
        files = {"image": file(photo()), "mask": file(grey)}
        plain = live.client.post("/v1/stylize/wave?format=png", files=files).content
        for mask in (file(holes()), file(holes(), "WEBP", lossless=True, exact=True)):
            edited = openais.images.edit(model="wave", image=file(photo()), mask=mask, prompt="")
            assert edited.data is not None
            assert base64.b64decode(edited.data[0].b64_json or "") == plain
        opaque = openais.images.edit(model="wave", image=file(photo()), mask=file(holes_nowhere()), prompt="")
        assert opaque.data is not None
        assert np.array_equal(pixels(base64.b64decode(opaque.data[0].b64_json or "")), photo())

        form: dict[str, Any] = {"data": {"model": "wave"}, "files": {"image": file(photo()), "mask": file(holes())}}
        where = live.client.post("/v1/images/edits", headers={"Prefer": "respond-async"}, **form).headers["Location"]
        live.until(where, lambda answer: answer.json()["state"] == "succeeded")
        assert live.client.get(f"{where}/result").content == plain


def test_image_is_its_own_mask_for_the_model_that_has_it_so(tmp_path: Path) -> None:
    publish(tmp_path)
    image = file(holes())
    with serving_clients(tmp_path, openai_models="dall-e-2=wave gpt-image-1=wave") as live, client(live) as openais:
        whole = openais.images.edit(model="gpt-image-1", image=image, prompt="")
        assert whole.data is not None
        kept = Image.open(io.BytesIO(base64.b64decode(whole.data[0].b64_json or "")))
        assert np.array_equal(np.asarray(kept)[..., 3], np.asarray(holes())[..., 3])
        edited = openais.images.edit(model="dall-e-2", image=image, prompt="")
        assert edited.data is not None
        opaque = Image.open(io.BytesIO(base64.b64decode(edited.data[0].b64_json or "")))
        assert opaque.mode == "RGB"
        assert np.array_equal(np.asarray(opaque)[:, 20:], photo(7)[:, 20:])
        plain = live.client.post("/v1/stylize/wave?format=png", content=file(photo(7))).content
        painted = openais.images.edit(model="dall-e-2", image=file(photo(7)), prompt="")
        assert painted.data is not None
        assert base64.b64decode(painted.data[0].b64_json or "") == plain


def holes_nowhere() -> Image.Image:
    return Image.fromarray(np.dstack([photo(7), np.full((24, 32), 255, np.uint8)]))


def test_mask_that_openai_would_refuse_is_refused(tmp_path: Path) -> None:
    publish(tmp_path)
    publish_upscaler(tmp_path)
    with serving_clients(tmp_path) as live, client(live) as openais:
        for model, mask, words in (
            ("wave", file(photo()), "no alpha channel"),
            ("wave", file(holes().resize((64, 48))), "mask is 64×48, and the image, upright, 32×24"),
            ("x4", file(holes()), "enlarged as a whole"),
        ):
            with pytest.raises(openai.UnprocessableEntityError, match=words) as refused:
                openais.images.edit(model=model, image=file(photo()), mask=mask, prompt="")
            assert refused.value.param == "mask"
        with pytest.raises(openai.APIStatusError, match="the mask") as unsupported:
            openais.images.edit(model="wave", image=file(photo()), mask=b"no image", prompt="")
        assert unsupported.value.status_code == 415


def test_size_of_the_answer_may_be_named(tmp_path: Path) -> None:
    publish(tmp_path)
    publish_upscaler(tmp_path)
    lying = Image.Exif()
    lying[0x0112] = 6
    with serving_clients(tmp_path) as live, client(live) as openais:
        for model, size, image in (
            ("wave", "32x24", file(photo())),
            ("wave", "24x32", file(photo(), exif=lying)),
            ("x4", "128x96", file(photo())),
            ("wave", "", file(photo())),
        ):
            assert openais.images.edit(model=model, size=size, image=image, prompt="").data
        for size in ("32x23", "32×24", "large"):
            with pytest.raises(openai.UnprocessableEntityError, match="size: ") as refused:
                openais.images.edit(model="wave", size=size, image=file(photo()), prompt="")
            assert refused.value.param == "size"
        assert "32x24; say that" in str(wrong_size(openais).value)


def wrong_size(openais: openai.OpenAI) -> pytest.ExceptionInfo[openai.UnprocessableEntityError]:
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        openais.images.edit(model="wave", size="1024x1024", image=file(photo()), prompt="")
    return refused


def test_empty_fields_are_left_out(tmp_path: Path) -> None:
    publish(tmp_path)
    names = ("size", "n", "quality", "response_format", "output_format", "background", "user", "stream", "mask")
    with serving_clients(tmp_path) as live:
        form: dict[str, Any] = {
            "data": {"model": "wave", **dict.fromkeys(names, "")},
            "files": {"image[]": file(photo())},
        }
        answer = live.client.post("/v1/images/edits", **form)
        assert answer.status_code == 200, answer.text
        assert answer.json()["output_format"] == "png"
        for format_ in ("JPG", "jpe", "WebP"):
            assert live.client.post("/v1/images/edits", **with_field(form, "output_format", format_)).status_code == 200
        nameless = live.client.post("/v1/images/edits", **with_field(form, "model", ""))
        assert (nameless.status_code, nameless.json()["error"]["param"]) == (422, "model")


def with_field(form: dict[str, Any], name: str, value: str) -> dict[str, Any]:
    return form | {"data": form["data"] | {name: value}}


def test_models_have_further_names(tmp_path: Path) -> None:
    publish(tmp_path)
    publish(tmp_path, "night", network(seed=1))
    names = "gpt-image-1=wave  dall-e-2=wave:0.7,night:0.3"
    with serving_clients(tmp_path, openai_models=names) as live, client(live) as openais:
        for name, model in (("gpt-image-1", "wave"), ("dall-e-2", "wave:0.7,night:0.3")):
            plain = live.client.post(f"/v1/stylize/{model}?format=png", content=file(photo())).content
            edited = openais.images.edit(model=name, image=file(photo()), prompt="")
            assert edited.data is not None
            assert base64.b64decode(edited.data[0].b64_json or "") == plain
        with pytest.raises(openai.NotFoundError, match="there are: night, wave; the setting openai_models gives"):
            openais.images.edit(model="dall-e-3", image=file(photo()), prompt="")


def test_compressed_form_is_decoded(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving_clients(tmp_path) as live:
        whole = live.client.build_request(
            "POST", "/v1/images/edits", data={"model": "wave"}, files={"image": file(photo())}
        )
        headers = {"Content-Type": whole.headers["Content-Type"], "Content-Encoding": "gzip"}
        answer = live.client.post("/v1/images/edits", content=gzip.compress(whole.read()), headers=headers)
        assert answer.status_code == 200
        refused = live.client.post(
            "/v1/images/edits", content=whole.read(), headers=headers | {"Content-Encoding": "br"}
        )
        assert (refused.status_code, refused.json()["error"]["code"]) == (415, "unsupported-coding")
        assert refused.headers["Accept-Encoding"] == "gzip, deflate, identity"


def test_edit_can_be_a_job(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving_clients(tmp_path) as live:
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
    with serving_clients(tmp_path) as live, client(live) as openais:
        models = list(openais.models.list())
        one = openais.models.retrieve("wave")
    assert (one.id, one.object, one.owned_by) == ("wave", "model", "pastiche")
    assert [model.id for model in models] == ["wave", "x4"]
    assert models[0].created == int(created.timestamp())
