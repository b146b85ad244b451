from pathlib import Path

from model_store import ModelStore
from tests.service.imaging.images import file, photo
from tests.service.live import Live, publish, publish_upscaler, serving


def listed(live: Live) -> dict[str, dict[str, object]]:
    return {model["name"]: model for model in live.client.get("/v1/models").json()["models"]}


def test_list_tells_what_a_client_chooses_by(tmp_path: Path) -> None:
    manifest = publish(tmp_path)
    publish_upscaler(tmp_path)
    with serving(tmp_path) as live:
        models = listed(live)
    assert list(models) == ["wave", "x4"]
    assert models["wave"] == {
        "name": "wave",
        "state": "ready",
        "version": 1,
        "task": "style",
        "scale": 1,
        "title": "",
        "license": "Apache-2.0",
        "tileable": True,
        "digest": manifest.digest,
        "created": manifest.created.isoformat().replace("+00:00", "Z"),
        "preview": None,
        "failure": None,
    }
    assert (models["x4"]["task"], models["x4"]["scale"]) == ("super-resolution", 4)


def test_one_model_comes_with_its_manifest(tmp_path: Path) -> None:
    manifest = publish(tmp_path)
    with serving(tmp_path) as live:
        answer = live.client.get("/v1/models/wave").json()
    assert answer["state"] == "ready"
    assert answer["manifest"] == manifest.model_dump(mode="json")


def test_unknown_model_is_not_found(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        for path in ("/v1/models/cats", "/v1/models/cats/preview", "/v1/models/..%2Fwave"):
            answer = live.client.get(path)
            assert answer.status_code == 404
            assert answer.headers["Content-Type"] == "application/problem+json"


def test_preview_is_the_published_picture(tmp_path: Path) -> None:
    publish(tmp_path, preview=file(photo()))
    with serving(tmp_path) as live:
        path = str(listed(live)["wave"]["preview"])
        answer = live.client.get(path)
    assert path == "/v1/models/wave/preview"
    assert answer.content == file(photo())
    assert answer.headers["Content-Type"] == "image/png"


def test_client_that_has_preview_or_card_does_not_get_it_again(tmp_path: Path) -> None:
    publish(tmp_path, preview=file(photo()))
    with serving(tmp_path) as live:
        for name, other in (("preview.png", file(photo(1))), ("README.md", b"# By hand")):
            path = f"/v1/models/wave/{'preview' if name.endswith('png') else 'card'}"
            tag = live.client.get(path).headers["ETag"]
            again = live.client.get(path, headers={"If-None-Match": f'"other", {tag}'})
            assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
            (tmp_path / "wave" / "1" / name).write_bytes(other)
            changed = live.client.get(path, headers={"If-None-Match": tag})
            assert (changed.status_code, changed.content) == (200, other)
            assert changed.headers["ETag"] != tag


def test_model_without_preview_has_none(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        answer = live.client.get("/v1/models/wave/preview")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/no-preview")


def test_preview_that_has_vanished_is_none(tmp_path: Path) -> None:
    publish(tmp_path, preview=file(photo()))
    with serving(tmp_path) as live:
        (tmp_path / "wave" / "1" / "preview.png").unlink()
        assert live.client.get("/v1/models/wave/preview").status_code == 404


def test_preview_that_became_a_link_out_of_the_store_is_not_shown(tmp_path: Path) -> None:
    root, secret = tmp_path / "store", tmp_path / "secret"
    secret.write_text("of this machine")
    publish(root, preview=file(photo()))
    with serving(root) as live:
        preview = root / "wave" / "1" / "preview.png"
        preview.unlink()
        preview.symlink_to(secret)
        answer = live.client.get("/v1/models/wave/preview")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/no-preview")
    assert "'preview.png' leads out of the store" in answer.json()["detail"]


def test_card_is_markdown_whose_picture_is_the_preview(tmp_path: Path) -> None:
    publish(tmp_path, preview=file(photo()))
    with serving(tmp_path) as live:
        answer = live.client.get("/v1/models/wave/card")
        assert answer.headers["Content-Type"] == "text/markdown; charset=utf-8"
        assert answer.text == ModelStore(tmp_path).card("wave").replace("(preview.png)", "(preview)")
        assert live.client.get(answer.url.join("preview")).content == file(photo())
        (tmp_path / "wave" / "1" / "README.md").write_text("# By hand")
        changed = live.client.get("/v1/models/wave/card")
        assert changed.text == "# By hand"
        assert len({each.headers["ETag"] for each in (answer, changed)}) == 2
        assert live.client.get("/v1/models/cats/card").json()["type"] == "/problems/unknown-model"


def test_card_that_became_a_link_out_of_the_store_is_made_anew(tmp_path: Path) -> None:
    root, secret = tmp_path / "store", tmp_path / "secret"
    secret.write_text("of this machine")
    publish(root)
    with serving(root) as live:
        card = root / "wave" / "1" / "README.md"
        card.unlink()
        card.symlink_to(secret)
        assert live.client.get("/v1/models/wave/card").text.startswith("---\nlicense: apache-2.0\n")


def test_published_version_appears_and_a_rollback_is_followed(tmp_path: Path) -> None:
    with serving(tmp_path) as live:
        assert listed(live) == {}
        publish(tmp_path)
        live.until("/v1/models/wave", lambda answer: answer.is_success)
        publish(tmp_path)
        live.until("/v1/models/wave", lambda answer: answer.json()["version"] == 2)
        ModelStore(tmp_path).rollback("wave")
        live.until("/v1/models/wave", lambda answer: answer.json()["version"] == 1)


def test_corrupt_version_is_shown_beside_the_one_that_goes_on(tmp_path: Path) -> None:
    publish(tmp_path)
    with serving(tmp_path) as live:
        (tmp_path / "wave" / "2").mkdir()
        (tmp_path / "wave" / "2" / "manifest.json").write_text("{}")
        ModelStore(tmp_path).promote("wave", 2)
        live.until("/v1/models/wave", lambda answer: bool(answer.json().get("failure")))
        model = listed(live)["wave"]
        assert (model["state"], model["version"]) == ("ready", 1)
        assert isinstance(model["failure"], dict)
        assert model["failure"]["version"] == 2
        assert "manifest.json" in model["failure"]["reason"]
        assert live.client.post("/v1/stylize/wave", content=file(photo())).headers["X-Model"] == "wave@1"
        assert live.client.get("/readyz").json()["failed"] == ["wave@2"]
        assert live.metric("pastiche_model_loads_total", model="wave", result="failed") >= 1


def test_model_that_never_loaded_is_shown_as_failed(tmp_path: Path) -> None:
    publish(tmp_path)
    (tmp_path / "wave" / "1" / "weights.safetensors").write_bytes(b"damaged")
    with serving(tmp_path) as live:
        assert listed(live)["wave"]["state"] == "failed"
        one = live.client.get("/v1/models/wave").json()
    assert (one["state"], one["version"], one["manifest"]) == ("failed", None, None)
    assert "weights.safetensors" in one["failure"]["reason"]
