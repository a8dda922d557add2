"""From what a provider's refusal is, to our error: pure, by status and code, never by a vendor's sentence.

A vendor's sentence may repeat the note, and a note may speak of rate limits: read as text, a permanent fault
becomes a transient one.
"""

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from app.errors import (
    LLMApiError,
    LLMAuthRefused,
    LLMContentRefused,
    LLMContextTooLong,
    LLMError,
    LLMModelNotFound,
    LLMRateLimited,
    LLMUnreachable,
)

# What a spent quota waits for when the provider names no time: soon enough for a person who has just paid.
QUOTA_WAIT_SECONDS = 300.0

_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})
_KEY_CODES = frozenset({"invalid_api_key", "API_KEY_INVALID", "authentication_error"})
_CONTEXT_CODES = frozenset({"context_length_exceeded", "string_above_max_length", "exceed_context_size_error"})
_REFUSAL_CODES = frozenset({"content_policy_violation", "content_filter", "moderation_blocked"})
_AUTH = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_TRANSIENT = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY})


def fault_of_status(status: int, codes: frozenset[str], retry_after_seconds: float | None) -> LLMError:
    """The error for an HTTP answer: `codes` are the machine-readable words of its body."""
    if codes & _QUOTA_CODES or status == HTTPStatus.PAYMENT_REQUIRED:
        return LLMRateLimited(http_status=status, retry_after_seconds=retry_after_seconds or QUOTA_WAIT_SECONDS)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return LLMRateLimited(http_status=status, retry_after_seconds=retry_after_seconds)
    kind = _kind_of(status, codes)
    # An overloaded server (503, 529) may name its time as well.
    return kind(http_status=status, retry_after_seconds=retry_after_seconds if kind is LLMUnreachable else None)


def _kind_of(status: int, codes: frozenset[str]) -> type[LLMError]:
    if status in _AUTH or codes & _KEY_CODES:
        return LLMAuthRefused
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _TRANSIENT:
        return LLMUnreachable
    if status == HTTPStatus.NOT_FOUND:
        return LLMModelNotFound
    if codes & _CONTEXT_CODES or status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return LLMContextTooLong
    return LLMContentRefused if codes & _REFUSAL_CODES else LLMApiError


def codes_in(body: object) -> frozenset[str]:
    """The machine-readable words of an error's body; each vendor has another place for them."""
    found: set[str] = set()
    while isinstance(body, list) and body:
        body = body[0]
    while isinstance(body, dict):
        words = (body.get(name) for name in ("code", "type", "status", "reason"))
        found.update(word for word in words if isinstance(word, str))
        details = body.get("details")
        found.update(codes_in(details) if isinstance(details, list) else ())
        body = body.get("error") or body.get("innererror")
    return frozenset(found)


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """The wait that a Retry-After header asks for; None without one, or when it is no time at all."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        return _seconds_until(header, now)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _seconds_until(http_date: str, now: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(http_date)
    except ValueError:
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (aware - now).total_seconds())
