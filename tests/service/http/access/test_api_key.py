import pytest

from service.http.access.api_key import PREFIX, KeysFile, LimitPolicy, Right, digest, new_key

DIGEST = digest("one")


def parse(text: str) -> KeysFile:
    return KeysFile.parse(text.encode())


def test_key_has_256_random_bits_and_says_whose_it_is() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(key.startswith(PREFIX) and len(key) == len(PREFIX) + 43 for key in keys)


def test_file_has_names_with_digests_rights_and_limits() -> None:
    file = parse(
        f'[keys.shop]\nsha256 = "{DIGEST}"\nmegapixels_per_minute = 60\nrequests_in_flight = 4\n'
        f'[keys.operator]\nsha256 = ["{digest("two")}", "{digest("three")}"]\nrights = ["admin", "metrics"]\n'
    )
    shop, operator = file.keys["shop"], file.keys["operator"]
    assert shop.rights == {Right.USE}
    assert shop.policy == LimitPolicy(megapixels_per_minute=60, requests_in_flight=4)
    assert operator.rights == {Right.ADMIN, Right.METRICS}
    assert operator.sha256 == (digest("two"), digest("three"))
    assert operator.policy == LimitPolicy()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "keys: Field required"),
        ("[keys]", "keys: Dictionary should have at least 1 item"),
        ("[keys.shop]\nsha256 = 'short'", "keys.shop.sha256.0: String should match pattern"),
        ("[keys.shop]\nrights = ['use']", "keys.shop.sha256: Field required"),
        (f"[keys.'my shop']\nsha256 = '{DIGEST}'", "my shop"),
        (f"[keys.a]\nsha256 = '{DIGEST}'\nrights = ['root']", "Input should be 'use', 'metrics' or 'admin'"),
        (f"[keys.a]\nsha256 = '{DIGEST}'\nmegapixels = 1", "keys.a.megapixels: Extra inputs"),
        (f"[keys.a]\nsha256 = '{DIGEST}'\nmegapixels_per_minute = 0", "greater than 0"),
        (f"[keys.a]\nsha256 = '{DIGEST}'\n[keys.b]\nsha256 = '{DIGEST}'", "is there twice"),
        (f"[keys.a]\nsha256 = '{DIGEST}'\n" * 2, "twice (at line 3, column 8); a name has one table, with a list"),
        ("keys = [", "Invalid value"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_line(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=r".+") as refused:
        parse(text)
    assert complaint in str(refused.value)
    assert "\n" not in str(refused.value)


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        KeysFile.parse(b"\xff")
