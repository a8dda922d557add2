"""Every error that LiteVault raises on purpose.

    LiteVaultError
    ├── ApiError                      has an HTTP status, is shown to the caller
    │   ├── InvalidInput              400 VALIDATION_ERROR
    │   ├── InvalidCursor             400 INVALID_CURSOR
    │   ├── Unauthorized              401
    │   ├── Forbidden                 403
    │   ├── NotFound                  404
    │   ├── InvalidTransition         409 INVALID_STATE_TRANSITION
    │   ├── DuplicateRequest          409
    │   ├── TagExists                 409
    │   ├── NameTaken                 409
    │   ├── VersionConflict           409
    │   ├── PayloadTooLarge           413
    │   ├── QueryUnfinished           409
    │   ├── QueryCancelled            409
    │   ├── PromptRefused             422 VALIDATION_ERROR: a template, or the values for one
    │   ├── QueryRefused              422 VALIDATION_ERROR: what is asked of a model cannot be asked
    │   ├── CallFailed                502, or as the LLMError that it shows
    │   ├── DailyQuotaExceeded        429 DAILY_QUOTA_EXCEEDED
    │   ├── ConcurrencyLimitExceeded  429 CONCURRENCY_LIMIT_EXCEEDED
    │   ├── BudgetExceeded            429 BUDGET_EXCEEDED, for a direct call that met LLMBudgetExceeded
    │   └── ServiceUnavailable        503
    ├── StartRefused                  the process must not start; the message says how to mend it
    │   ├── SettingsRefused           values of settings are wrong
    │   └── NotReady                  the surroundings are not ready: trying again may help
    ├── LeaseLost                     the row is no longer this worker's: stop, spend nothing
    └── LLMError                      a model call failed; the three families of API.md
        ├── LLMTimeout                LLM_TIMEOUT
        ├── LLMInvalidAnswer          LLM_VALIDATION_ERROR
        │   └── LLMAnswerTooLarge     LLM_VALIDATION_ERROR
        └── LLMApiError               LLM_API_ERROR
            ├── LLMModelNotFound      LLM_MODEL_NOT_FOUND: 404
            ├── LLMUnreachable        LLM_API_ERROR, transient: 5xx, connection, 408
            ├── LLMRateLimited        LLM_RATE_LIMITED; with a time named, the whole provider waits
            ├── LLMAuthRefused        LLM_AUTH, the whole provider waits
            ├── LLMContextTooLong     LLM_CONTEXT_TOO_LONG
            ├── LLMContentRefused     LLM_CONTENT_REFUSED
            ├── LLMPrivateText        LLM_PRIVATE_TEXT
            ├── LLMBadRequest         LLM_BAD_REQUEST, names the field of the call
            ├── LLMBudgetExceeded     LLM_BUDGET_EXCEEDED
            ├── LLMDisabled           LLM_DISABLED
            └── LLMInterrupted        LLM_INTERRUPTED

The messages of LLMError are written here and never carry a vendor's text: what a provider says may hold
the key, the prompt or the note.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar


class LiteVaultError(Exception):
    """The root; `code` is what programs read, the message is what people read."""

    code: str = "INTERNAL_ERROR"
    retryable: bool = False


class ApiError(LiteVaultError):
    """Shown to the caller in the error envelope; `details` never echoes a rejected value."""

    status: int = 500
    sentence: ClassVar[str] = "Something went wrong on the server."

    def __init__(self, message: str | None = None, details: Mapping[str, object] | None = None) -> None:
        super().__init__(message or self.sentence)
        self.details = details

    @property
    def message(self) -> str:
        return str(self.args[0])


class InvalidInput(ApiError):
    code, status, sentence = "VALIDATION_ERROR", 400, "The request holds a value that cannot be used."


class InvalidCursor(ApiError):
    code, status, sentence = "INVALID_CURSOR", 400, "This cursor was not made by this server; start again without it."


class Unauthorized(ApiError):
    code, status, sentence = "UNAUTHORIZED", 401, "Say who is calling: in development, send X-Dev-User-Id."


class Forbidden(ApiError):
    code, status, sentence = "FORBIDDEN", 403, "This needs a higher role."


class NotFound(ApiError):
    code, status, sentence = "NOT_FOUND", 404, "There is nothing here under this id."


class InvalidTransition(ApiError):
    code, status, sentence = "INVALID_STATE_TRANSITION", 409, "The item's state does not allow this action."


class DuplicateRequest(ApiError):
    code, status = "DUPLICATE_REQUEST", 409
    sentence = "This Idempotency-Key was used with another body; send a new key."


class TagExists(ApiError):
    code, status, sentence = "TAG_EXISTS", 409, "Another tag has this name already."


class NameTaken(ApiError):
    code, status, sentence = "NAME_TAKEN", 409, "Another one has this name already."


class VersionConflict(ApiError):
    code, status = "VERSION_CONFLICT", 409
    sentence = "Somebody else changed it meanwhile; read it again, then repeat the change."


class QueryUnfinished(ApiError):
    code, status, retryable, sentence = "QUERY_UNFINISHED", 409, True, "The query has no result yet; ask again later."


class QueryCancelled(ApiError):
    code, status, sentence = "QUERY_CANCELLED", 409, "The query was cancelled; it will have no result."


class PayloadTooLarge(ApiError):
    code, status, sentence = "PAYLOAD_TOO_LARGE", 413, "The body is larger than this server takes."


class PromptRefused(ApiError):
    """A template that breaks a rule, or values that do not fit it; `details.errors` names each field and rule."""

    code, status, sentence = "VALIDATION_ERROR", 422, "The prompt cannot be used as it is."


class QueryRefused(ApiError):
    """What is asked of a model cannot be asked; `details.errors` names the field and the rule."""

    code, status = "VALIDATION_ERROR", 422

    def __init__(self, field: str, rule: str, complaint: str) -> None:
        errors = [{"field": field, "rule": rule, "message": complaint}]
        super().__init__(f"The query cannot be carried out. {field}: {complaint}", {"errors": errors})


class CallFailed(ApiError):
    """A call of a model that somebody waited for has failed: code, status and sentence are of the fault."""

    code, status = "LLM_API_ERROR", 502

    def __init__(
        self, sentence: str, details: Mapping[str, object], *, code: str, status: int, wait_seconds: float | None
    ) -> None:
        super().__init__(sentence, details)
        self.code, self.status = code, status
        self.retryable = status in {429, 503} and code != BudgetExceeded.code
        self.retry_after_seconds = wait_seconds


class DailyQuotaExceeded(ApiError):
    code, status = "DAILY_QUOTA_EXCEEDED", 429
    sentence = "The number of these for today is used up."

    def __init__(self, *, limit: int, used: int, resets_at: datetime) -> None:
        super().__init__(details={"limit": limit, "used": used, "resetAt": _wire_time(resets_at)})


class ConcurrencyLimitExceeded(ApiError):
    code, status = "CONCURRENCY_LIMIT_EXCEEDED", 429
    sentence = "As many of these as may run at once are running; wait for one to end."

    def __init__(self, *, limit: int, active: int) -> None:
        super().__init__(details={"limit": limit, "active": active})


class BudgetExceeded(ApiError):
    code, status, sentence = "BUDGET_EXCEEDED", 429, "The budget for model calls is spent."

    def __init__(self, fault: "LLMBudgetExceeded") -> None:
        super().__init__(fault.explain(), fault.spent.told() if fault.spent else None)


def _wire_time(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


class ServiceUnavailable(ApiError):
    code, status, retryable = "SERVICE_UNAVAILABLE", 503, True
    sentence = "The database cannot be used right now; try again in a moment."


class StartRefused(LiteVaultError):
    """The process must not start as it is set up; the message names the setting and its mend, in one line."""

    exit_code: ClassVar[int] = 2


class SettingsRefused(StartRefused):
    """One complaint for each bad variable."""

    def __init__(self, complaints: Sequence[str]) -> None:
        super().__init__("; ".join(complaints))
        self.complaints = tuple(complaints)


class NotReady(StartRefused):
    """Not the settings but what they point at: a port that is taken, a database that is away."""

    exit_code: ClassVar[int] = 1


class LeaseLost(LiteVaultError):
    """The row was discarded, reclaimed or released meanwhile: nothing more may be spent on it."""


class Remedy(StrEnum):
    """What the worker does about a fault.

    FAIL: again would give the same. RETRY: this call may go well later, an attempt is used up.
    WAIT: the whole provider is closed to us for a while, the attempt is given back.
    """

    FAIL = "fail"
    RETRY = "retry"
    WAIT = "wait"


class LLMError(LiteVaultError):
    """A model call failed. `family` is one of the three codes that existing clients know.

    `max_attempts` bounds the attempts on one row below the worker's own limit, where each may cost money.
    `closed_gate`: the call that met it closed its provider to all others.
    """

    code = "LLM_API_ERROR"
    family: ClassVar[str] = "LLM_API_ERROR"
    # Of the class, unless the one who raises knows better: the same 401 fails the item that met it first and makes
    # the items after it wait.
    remedy: Remedy = Remedy.FAIL
    max_attempts: ClassVar[int | None] = None
    sentence: ClassVar[str] = "The model could not be used."
    next_step: ClassVar[str] = "Retry the item; if it fails again, tell the operator."

    def __init__(
        self,
        *,
        http_status: int | None = None,
        retry_after_seconds: float | None = None,
        remedy: Remedy | None = None,
    ) -> None:
        super().__init__(self.sentence)
        self.http_status = http_status
        self.retry_after_seconds = retry_after_seconds
        if remedy is not None:
            self.remedy = remedy
        self.closed_gate = False

    def explain(self) -> str:
        """One sentence for a person: ours alone, with the HTTP status as the only fact from outside."""
        return f"{self.sentence} (HTTP {self.http_status})" if self.http_status else self.sentence


class LLMTimeout(LLMError):
    code = family = "LLM_TIMEOUT"
    remedy, retryable, max_attempts = Remedy.RETRY, True, 2
    sentence = "The model did not answer in time."
    next_step = "Retry the item; if this goes on, raise LITEVAULT_LLM_TIMEOUT_SECONDS or choose a faster model."


class LLMInvalidAnswer(LLMError):
    code = family = "LLM_VALIDATION_ERROR"
    retryable = True
    sentence = "The model gave no answer of the required form."
    next_step = "Retry the item, or choose a model that supports structured output."


class LLMAnswerTooLarge(LLMInvalidAnswer):
    sentence = "The model's answer was larger than LiteVault takes."
    next_step = "Retry the item, or choose another model."


class LLMApiError(LLMError):
    sentence = "The provider rejected the request."
    next_step = "Check LITEVAULT_LLM_MODEL with `litevault check`, then retry the item."
    retryable = True


class LLMModelNotFound(LLMApiError):
    code, sentence = "LLM_MODEL_NOT_FOUND", "The provider has no such model, or its address is wrong."
    next_step = "Correct the model's name or the provider's address: see `litevault check`. Then retry the item."


class LLMUnreachable(LLMApiError):
    remedy = Remedy.RETRY
    sentence = "The provider could not be reached or had a fault of its own."
    next_step = "Retry the item in a few minutes."


class LLMRateLimited(LLMApiError):
    code, remedy = "LLM_RATE_LIMITED", Remedy.RETRY
    sentence = "The provider's rate limit or quota is used up."
    next_step = "Wait and retry, or raise the limit in the provider's account."


class LLMAuthRefused(LLMApiError):
    code, remedy = "LLM_AUTH", Remedy.WAIT
    sentence = "The provider refused the API key."
    next_step = "Set a valid key for the provider (for example OPENAI_API_KEY), restart, then retry the item."


class LLMContextTooLong(LLMApiError):
    code, retryable = "LLM_CONTEXT_TOO_LONG", False
    sentence = "The text is longer than the model can read."
    next_step = "Shorten the text, or choose a model with a larger context window."


class LLMContentRefused(LLMApiError):
    code, retryable = "LLM_CONTENT_REFUSED", False
    sentence = "The provider declined to answer for this text."
    next_step = "Edit the text and retry, or confirm the item with a title of your own."


class BudgetSpent:
    """A budget that a call would have crossed: USD, and when its next period begins."""

    def __init__(self, limit_usd: Decimal, used_usd: Decimal, resets_at: datetime) -> None:
        self.limit_usd, self.used_usd, self.resets_at = limit_usd, used_usd, resets_at

    def told(self) -> dict[str, object]:
        """As who waits for an answer is told."""
        return {"limit": float(self.limit_usd), "used": float(self.used_usd), "resetAt": _wire_time(self.resets_at)}


class LLMPrivateText(LLMApiError):
    code, retryable = "LLM_PRIVATE_TEXT", False
    sentence = "The text is private, and no model of the plan may see it."
    next_step = "Set up a local model, or change the item's privacy, then retry."


class LLMBadRequest(LLMApiError):
    """The call itself cannot be made; `field` names the part of it, as the caller wrote it."""

    code, retryable = "LLM_BAD_REQUEST", False
    sentence = "The request for the model cannot be carried out."
    next_step = "Correct the request: the model, the task or the parameters that it names."

    def __init__(self, complaint: str | None = None, *, field: str | None = None, remedy: Remedy | None = None) -> None:
        super().__init__(remedy=remedy)
        self.field = field
        self.complaint = complaint or self.sentence

    def explain(self) -> str:
        return self.complaint


class LLMBudgetExceeded(LLMApiError):
    """The call was not made. `is_unpriced`: the price of its model is unknown, so that no budget can hold it."""

    code, remedy = "LLM_BUDGET_EXCEEDED", Remedy.WAIT
    sentence = "The budget for model calls is spent."
    next_step = "Wait for the next period, or ask the operator to raise the budget."

    def __init__(
        self,
        spent: BudgetSpent | None = None,
        *,
        is_unpriced: bool = False,
        retry_after_seconds: float | None = None,
        remedy: Remedy | None = None,
    ) -> None:
        super().__init__(retry_after_seconds=retry_after_seconds, remedy=remedy)
        self.spent, self.is_unpriced = spent, is_unpriced

    def explain(self) -> str:
        return "There is a budget, and the price of the model is not known." if self.is_unpriced else self.sentence


class LLMDisabled(LLMApiError):
    code, remedy = "LLM_DISABLED", Remedy.WAIT
    sentence = "Enrichment is switched off on this server."
    next_step = "Confirm the item with a title of your own, or retry when it is switched on again."


class LLMInterrupted(LLMApiError):
    code, sentence = "LLM_INTERRUPTED", "The server stopped several times while working on this."
    next_step = "Retry the item; if it stops the server again, tell the operator."


def llm_errors() -> dict[str, type[LLMError]]:
    """Every code that an item can fail with, and its class; a code shared by a family maps to the family's head."""
    found: dict[str, type[LLMError]] = {}
    waiting: list[type[LLMError]] = [LLMError]
    while waiting:
        kind = waiting.pop(0)
        found.setdefault(kind.code, kind)
        waiting.extend(kind.__subclasses__())
    return found
