"""Session tokens of IMDSv2, which prove themselves: none has to be kept.

A poller in the shell takes a new token for each request, which are a million in a day.
"""

import base64
import hashlib
import hmac
import math
import secrets
import struct

LONGEST_TTL_SECONDS = 21_600

_EXPIRY = struct.Struct(">d")
_PROOF_BYTES = 32


class SessionTokens:
    """Issues and checks tokens. Those of an earlier process are not valid."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def issue(self, node: str, *, ttl_seconds: int, now: float) -> str:
        """Return a token that is valid for this node alone, as on EC2."""
        expiry = _EXPIRY.pack(now + ttl_seconds)
        return base64.urlsafe_b64encode(expiry + self._proof(node, expiry)).decode()

    def seconds_left(self, token: str, node: str, *, now: float) -> int:
        """Return how long a token is valid still: 0 if it is not, or not a token of this node."""
        try:
            raw = base64.urlsafe_b64decode(token)
        except ValueError:
            return 0
        expiry, proof = raw[: _EXPIRY.size], raw[_EXPIRY.size :]
        if len(proof) != _PROOF_BYTES or not hmac.compare_digest(proof, self._proof(node, expiry)):
            return 0
        expires_at: float = _EXPIRY.unpack(expiry)[0]
        return max(math.ceil(expires_at - now), 0)

    def _proof(self, node: str, expiry: bytes) -> bytes:
        return hashlib.blake2s(expiry + node.encode(), key=self._key).digest()
