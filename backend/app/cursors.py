"""Cursors of pages: opaque outside, a place in an order inside. Damage is found and never passes for another place."""

import base64
import hashlib
from collections.abc import Sequence

import orjson

from app.errors import InvalidCursor

_CHECKSUM_BYTES = 4


def encode_cursor(*place: str) -> str:
    packed = orjson.dumps(place)
    return base64.urlsafe_b64encode(_checksum(packed) + packed).decode().rstrip("=")


def decode_cursor(cursor: str, parts: int) -> Sequence[str]:
    """As many texts as were encoded. Raises InvalidCursor."""
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        place = packed[_CHECKSUM_BYTES:]
        if _checksum(place) != packed[:_CHECKSUM_BYTES]:
            raise InvalidCursor
        found = orjson.loads(place)
    except (ValueError, TypeError):
        raise InvalidCursor from None
    if not isinstance(found, list) or len(found) != parts or not all(isinstance(part, str) for part in found):
        raise InvalidCursor
    return found


def _checksum(place: bytes) -> bytes:
    return hashlib.blake2b(place, digest_size=_CHECKSUM_BYTES).digest()
