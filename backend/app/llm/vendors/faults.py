"""From what the vendors' code raises to our error: by the HTTP answer and by type, never by a sentence."""

from collections.abc import Iterator
from typing import Any

import structlog

from app.clock import utc_now
from app.errors import (
    LLMAnswerTooLarge,
    LLMApiError,
    LLMAuthRefused,
    LLMBadRequest,
    LLMContentRefused,
    LLMContextTooLong,
    LLMError,
    LLMModelNotFound,
    LLMRateLimited,
    LLMTimeout,
    LLMUnreachable,
)
from app.llm.faults import codes_in, fault_of_status, retry_after_seconds
from app.llm.vendors.answer import json_of
from app.llm.vendors.http_session import AnswerTooLarge
from app.providers.outbound import AddressRefused, RedirectRefused

_log = structlog.get_logger(__name__)


class VendorFaults:
    """`litellm` is the module itself: only the client imports it."""

    def __init__(self, litellm: Any) -> None:  # noqa: ANN401 - the module
        self._litellm = litellm
        self._by_type: tuple[tuple[type[Exception], type[LLMError]], ...] = (
            (litellm.Timeout, LLMTimeout),
            (litellm.AuthenticationError, LLMAuthRefused),
            (litellm.PermissionDeniedError, LLMAuthRefused),
            (litellm.RateLimitError, LLMRateLimited),
            (litellm.ContextWindowExceededError, LLMContextTooLong),
            (litellm.ContentPolicyViolationError, LLMContentRefused),
            (litellm.BadRequestError, LLMApiError),
            (litellm.NotFoundError, LLMModelNotFound),
        )

    def of(self, error: Exception) -> LLMError:
        """By the HTTP answer where there was one, else by litellm's type.

        Not by litellm's type alone: it reads the status out of the sentence, and a 400 that repeats a note
        about rate limits becomes a RateLimitError; and it drops the Retry-After header.
        """
        import httpx  # noqa: PLC0415 - with litellm

        for cause in _causes(error):
            if isinstance(cause, AnswerTooLarge):
                return LLMAnswerTooLarge()
            if isinstance(cause, AddressRefused | RedirectRefused):
                # Not the provider's fault, but its address's: a second try would end in the same.
                _log.warning("llm_call.address_refused", kind=type(cause).__name__)
                return LLMApiError()
            if isinstance(cause, httpx.HTTPStatusError):
                return self._of_answer(error, cause.response)
        if isinstance(error, self._litellm.UnsupportedParamsError):
            return LLMBadRequest("The model does not take one of the parameters.", field="parameters")
        return next((ours() for theirs, ours in self._by_type if isinstance(error, theirs)), LLMUnreachable())

    def _of_answer(self, error: Exception, response: Any) -> LLMError:  # noqa: ANN401 - httpx.Response
        fault = fault_of_status(
            response.status_code,
            codes_in(json_of(response)),
            retry_after_seconds(response.headers.get("retry-after"), utc_now()),
        )
        # Some vendors have no word for this but their sentence; it changes only which permanent fault it is.
        is_too_long = isinstance(error, self._litellm.ContextWindowExceededError)
        if is_too_long and type(fault) is LLMApiError:
            return LLMContextTooLong(http_status=fault.http_status)
        return fault


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it was raised from, outermost first."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
