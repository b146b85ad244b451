from pathlib import Path

import pytest

from model_store.remote.location import home_expanded, is_url, local_folder, parse_location, split_locations


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("models", ["models"]),
        ("/one:/two:", ["/one", "/two"]),
        ("models:s3://bucket/models", ["models", "s3://bucket/models"]),
        ("s3://bucket/models:/srv/models", ["s3://bucket/models", "/srv/models"]),
        ("https://host:8080/x:models:memory://a", ["https://host:8080/x", "models", "memory://a"]),
        ("https://host:8080:file:///srv/x", ["https://host:8080", "file:///srv/x"]),
    ],
)
def test_list_is_split_at_colons_that_are_not_in_urls(text: str, parts: list[str]) -> None:
    assert split_locations(text) == parts


def test_location_is_a_folder_or_a_url() -> None:
    assert parse_location("models/") == Path("models")
    assert parse_location("s3://bucket/models/") == "s3://bucket/models"
    assert is_url("hf://user/models")
    assert not is_url("models")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty; this folder is written"),
        ("file://", "three slashes: file:///srv/models"),
        ("file:///", "three slashes"),
        ("file://host/models", "three slashes"),
        ("LOCAL://models", "three slashes: local:///srv/models"),
        ("s3://", "names no bucket or host, such as s3://name/models"),
        ("s3:///models", "names no bucket or host"),
        ("hf:///", "names no bucket or host"),
        ("https:///models", "names no bucket or host"),
        ("https://host:port/models", "no host and port"),
        ("https://[::1", "no host and port"),
        ("file:/srv/models", "begins like s3://bucket/models"),
        ("S3:bucket", "begins like s3://bucket/models"),
        ("://bucket", "begins like s3://bucket/models"),
        ("models:s3://bucket", "begins like s3://bucket/models"),
    ],
)
def test_what_names_no_place_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        parse_location(text)


@pytest.mark.parametrize(
    ("text", "location"),
    [
        ("FILE:///srv/models/", "file:///srv/models"),
        ("S3://Bucket/Models", "s3://Bucket/Models"),
        ("http://[::1]:8000/models", "http://[::1]:8000/models"),
        ("http://host", "http://host"),
        ("memory://a", "memory://a"),
        ("./s3:bucket", Path("s3:bucket")),
        ("a:b", Path("a:b")),
    ],
)
def test_places_are_taken_as_they_are(text: str, location: Path | str) -> None:
    assert parse_location(text) == location


@pytest.mark.parametrize("url", ["https://user:secret@host/models", "https://host/models?token=secret"])
def test_secrets_in_urls_are_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(ValueError, match="credentials come from the environment") as caught:
        parse_location(url)
    assert "secret" not in str(caught.value)


def test_url_with_a_password_is_one_part_so_that_it_is_refused_as_a_whole() -> None:
    assert split_locations("a:https://user:secret@host:80/x:b") == ["a", "https://user:secret@host:80/x", "b"]


@pytest.mark.parametrize("form", ["{}", "file://{}", "LOCAL://{}", "{}/x/.."])
def test_folders_of_this_machine_are_known_also_by_their_urls(tmp_path: Path, form: str) -> None:
    (tmp_path / "x").mkdir()
    assert local_folder(form.format(tmp_path)) == tmp_path
    assert local_folder("s3://bucket/models") is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("s3:bucket", "s3:bucket would be two folders; a URL is written s3://bucket"),
        ("models:s3:/bucket/models", "a URL is written s3://bucket/models"),
        ("https:/host/models", "a URL is written https://host/models"),
        ("S3:", "a URL is written S3://bucket/models"),
    ],
)
def test_urls_that_lack_a_slash_are_no_two_folders(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        split_locations(text)
    assert split_locations("./s3:bucket") == ["./s3", "bucket"]


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert parse_location("~/models") == Path("/home/me/models")
    assert home_expanded(Path("a/~")) == Path("a/~")
    with pytest.raises(
        ValueError, match=r"~nobody-of-this-name/x begins with no home folder; .* written as /.*/~nobody"
    ):
        parse_location("~nobody-of-this-name/x")
