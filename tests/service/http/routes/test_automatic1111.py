"""`/sdapi/v1` as clients of the web UI speak it."""

import base64
import json
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.networks import network
from tests.service.imaging.images import file, photo
from tests.service.live import Live, pixels, publish, publish_upscaler, serving_clients

SINGLE = "/sdapi/v1/extra-single-image"
BATCH = "/sdapi/v1/extra-batch-images"

WEBUIAPI: dict[str, Any] = {
    "resize_mode": 0,
    "show_extras_results": True,
    "gfpgan_visibility": 0,
    "codeformer_visibility": 0,
    "codeformer_weight": 0,
    "upscaling_resize": 2,
    "upscaling_resize_w": 512,
    "upscaling_resize_h": 512,
    "upscaling_crop": True,
    "upscaler_1": "x4",
    "upscaler_2": "None",
    "extras_upscaler_2_visibility": 0,
    "upscale_first": False,
}
"""What a client sends with every image, whether it matters or not."""


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def enlarge(live: Live, image: bytes, **options: Any) -> Any:
    answer = live.client.post(SINGLE, json={**WEBUIAPI, **options, "image": encoded(image)})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_image_is_enlarged(tmp_path: Path) -> None:
    publish(tmp_path)
    publish_upscaler(tmp_path)
    publish(tmp_path, "x2", network("c9s1-6,R6*4,u6,c9s1-3"))
    image = file(photo(), "JPEG", quality=95)
    with serving_clients(tmp_path) as live:
        listed = live.client.get("/sdapi/v1/upscalers").json()
        assert [(each["name"], each["scale"]) for each in listed] == [("auto", 4.0), ("x2", 2.0), ("x4", 4.0)]
        for options, path in (
            ({"upscaling_resize": 4}, "4?model=x4"),
            ({"upscaling_resize": 2}, "4?model=x4&width=64&height=48&fit=fill"),
            ({"upscaling_resize": 2.5}, "4?model=x4&width=80&height=60&fit=fill"),
            ({"upscaling_resize": 4, "upscaler_1": "auto"}, "4?model=auto"),
            (
                {"resize_mode": 1, "upscaling_resize_w": 64, "upscaling_resize_h": 64},
                "4?model=x4&width=64&height=64&fit=cover",
            ),
            (
                {"resize_mode": 1, "upscaling_resize_w": 64, "upscaling_resize_h": 60, "upscaling_crop": False},
                "4?model=x4&width=80&height=60&fit=fill",
            ),
        ):
            plain = live.client.post(f"/v1/upscale/{path}&format=png", content=image)
            answer = enlarge(live, image, **options)
            assert base64.b64decode(answer["image"]) == plain.content
            height, width = pixels(plain.content).shape[:2]
            assert answer["html_info"] == f"<p>x4@1: {width}×{height}</p>"


def test_several_images_are_enlarged_each_by_itself(tmp_path: Path) -> None:
    publish_upscaler(tmp_path)
    files = [file(photo(1)), file(photo(2, 30, 20))]
    with serving_clients(tmp_path) as live:
        listed = [{"data": f"data:image/png;base64,{encoded(each)}", "name": "a"} for each in files]
        answer = live.client.post(BATCH, json={**WEBUIAPI, "imageList": listed})
        assert answer.status_code == 200, answer.text
        shapes = [pixels(base64.b64decode(image)).shape for image in answer.json()["images"]]
        assert shapes == [(48, 64, 3), (60, 40, 3)]
        many = live.client.post(BATCH, json={**WEBUIAPI, "imageList": listed * 9})
        assert (many.status_code, "send from 1 to 16" in many.json()["detail"]) == (422, True)


def test_each_entry_of_a_batch_has_one_image(tmp_path: Path) -> None:
    publish_upscaler(tmp_path)
    image = encoded(file(photo()))
    with serving_clients(tmp_path) as live:
        for entry, images in (({"name": "a"}, 1), ({"data": None}, 1), ("a", 1), ({"data": [image, image]}, 3)):
            answer = live.client.post(BATCH, json={**WEBUIAPI, "imageList": [entry, {"data": image}]})
            assert answer.status_code == 422, entry
            assert f"imageList: it has 2 entries and {images} images" in answer.json()["detail"]


def test_what_cannot_be_done_is_refused(tmp_path: Path) -> None:
    publish(tmp_path)
    publish(tmp_path, "x2", network(seed=1))
    publish_upscaler(tmp_path)
    image = encoded(file(photo()))
    with serving_clients(tmp_path, max_output_pixels=40_000) as live:
        cases: tuple[tuple[dict[str, Any], int, str], ...] = (
            ({"upscaler_1": "None"}, 422, "must be a name of /sdapi/v1/upscalers"),
            ({"upscaler_1": "R-ESRGAN 4x+"}, 404, "there are: x4"),
            ({"upscaler_1": "wave"}, 404, "there are: x4"),
            ({"upscaler_2": "x4", "extras_upscaler_2_visibility": 0.5}, 422, "are not mixed"),
            ({"gfpgan_visibility": 1}, 422, "gfpgan_visibility: "),
            ({"codeformer_visibility": 0.5}, 422, "codeformer_visibility: "),
            ({"upscaling_resize": 0.5}, 422, "upscaling_resize: Input should be greater than or equal to 1"),
            ({"upscaling_resize": 32}, 404, "no model enlarges"),
            ({"resize_mode": 1, "upscaling_resize_w": 32, "upscaling_resize_h": 24}, 422, "images only grow here"),
            ({"resize_mode": 1, "upscaling_resize_w": 10**6}, 422, "upscaling_resize_w: "),
            ({"resize_mode": 2}, 422, "resize_mode: "),
            ({"image": "x"}, 422, "image: it is no base64"),
            ({"image": encoded(b"no image")}, 415, "is none of"),
            ({"image": None}, 422, "image: there are 0 images; send one"),
            ({"image": [image, image]}, 422, "image: there are 2 images; send one"),
            ({"image": encoded(file(photo(0, 60, 60)))}, 422, "57600 pixels"),
        )
        for options, status, words in cases:
            answer = live.client.post(SINGLE, json={**WEBUIAPI, "image": image, **options})
            assert (answer.status_code, words in answer.json()["detail"]) == (status, True), (options, answer.text)
        nothing = live.client.get("/sdapi/v1/txt2img")
        assert (nothing.status_code, nothing.json()["error"]) == (404, "No such path")


def test_nothing_that_is_sent_breaks_the_service(tmp_path: Path) -> None:
    publish_upscaler(tmp_path)
    image = encoded(file(photo(0, 2, 3)))
    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=6,
    )
    options = st.dictionaries(st.sampled_from([*WEBUIAPI, "image", "imageList"]), anything, max_size=4)
    with serving_clients(tmp_path) as live:

        @settings(
            max_examples=60, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
        )
        @given(options=options, whole=anything, path=st.sampled_from([SINGLE, BATCH]), known=st.booleans())
        def is_answered(options: Any, whole: Any, path: str, known: bool) -> None:
            body = {**WEBUIAPI, "image": image, "imageList": [{"data": image}], **options} if known else whole
            answer = live.client.post(path, content=json.dumps(body).encode())
            assert answer.status_code < 500, answer.text
            assert answer.status_code == 200 or isinstance(answer.json()["detail"], str)

        is_answered()
