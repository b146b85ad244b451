import base64

from service.http.webhooks.signature import signed_headers
from tests.service.http.webhooks.receiver import SECRET

KEY = base64.b64decode(SECRET.removeprefix("whsec_"))


def test_signature_is_that_of_the_reference_implementation() -> None:
    """Values of the tests of https://github.com/standard-webhooks/standard-webhooks."""
    headers = signed_headers([KEY], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_every_key_signs() -> None:
    both = signed_headers([KEY, b"another key of 24 bytes."], "msg_1", 1, b"{}")["webhook-signature"].split(" ")
    assert both[0] == signed_headers([KEY], "msg_1", 1, b"{}")["webhook-signature"]
    assert both[1].startswith("v1,")
    assert both[1] != both[0]
