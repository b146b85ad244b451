"""Signatures of webhooks, as Standard Webhooks 1.0 has them (https://www.standardwebhooks.com)."""

import base64
import hmac
from collections.abc import Sequence


def signed_headers(keys: Sequence[bytes], message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The headers by which a receiver knows who sent a body, and when (seconds since 1970).

    One signature for each key, HMAC-SHA256 over id.timestamp.body, so that receivers may be given a new key while they
    still know the old one.
    """
    content = b".".join([message_id.encode(), str(timestamp).encode(), body])
    digests = (hmac.digest(key, content, "sha256") for key in keys)
    signatures = " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)
    return {"webhook-id": message_id, "webhook-timestamp": str(timestamp), "webhook-signature": signatures}
