"""From a query to a call of the gateway, and from what came of it to what is stored.

Invariant: what can be refused is refused before anything is stored or spent, naming the field of the request.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from pydantic.alias_generators import to_camel

from app.accounts.privacy import Privacy
from app.accounts.roles import Role
from app.accounts.user_model import default_privacy
from app.database import Database
from app.errors import (
    ApiError,
    BudgetExceeded,
    CallFailed,
    Forbidden,
    LLMBadRequest,
    LLMBudgetExceeded,
    LLMContextTooLong,
    LLMError,
    LLMModelNotFound,
    NotFound,
    PromptRefused,
    QueryRefused,
)
from app.llm.attempts import AttemptRecorder, FirstCall, Usage
from app.llm.call import CacheScope, Call, Parameters, Receipt, Spender, StreamEvent
from app.llm.gateway import Gateway
from app.llm.ledger.attempt_model import LLMAttempt
from app.llm.routing import TASK_PREFIX
from app.prompts.prompt_version import PromptVersion
from app.prompts.registry import PromptRegistry
from app.queries.query_model import QueryStatus
from app.queries.schemas import AttemptOut, ParametersIn, QueryAsked, QueryRequest, ReceiptOut, UsageOut

LANE = TASK = "query"
Columns = dict[str, Any]
AskedKind = TypeVar("AskedKind", bound=QueryAsked)
_STATUSES: Mapping[str, int] = {
    "LLM_BAD_REQUEST": 422,
    "LLM_CONTENT_REFUSED": 422,
    "LLM_CONTEXT_TOO_LONG": 422,
    "LLM_MODEL_NOT_FOUND": 422,
    "LLM_PRIVATE_TEXT": 422,
    "LLM_BUDGET_EXCEEDED": 429,
    "LLM_RATE_LIMITED": 429,
    "LLM_DISABLED": 503,
    "LLM_INTERRUPTED": 503,
    "LLM_TIMEOUT": 504,
}


class Asker:
    """Asks the gateway for queries; shared by the lane and by the requests that wait themselves."""

    def __init__(
        self, gateway: Gateway, prompts: PromptRegistry, database: Database, *, deadline_seconds: float
    ) -> None:
        self._gateway, self._prompts, self._database = gateway, prompts, database
        self.deadline_seconds = deadline_seconds

    async def prepare(self, asked: AskedKind, user_id: str, role: Role) -> AskedKind:
        """With the prompt's version and the privacy as they are now, so that it means the same whenever it is asked.

        Raises ApiError for what no model could be asked.
        """
        check_role(role, asked.model, asked.fallback_models)
        pinned = asked.model_copy(update={"privacy": asked.privacy or await self.privacy_of(user_id)})
        if asked.prompt_id is not None:
            prompt = self._prompt(asked.prompt_id, asked.prompt_version)
            pinned.prompt_version = prompt.version
            prompt.render("", asked.variables, asked.document)
        if isinstance(asked, QueryRequest) and asked.json_schema is not None:
            from app.queries.structure import check_schema  # noqa: PLC0415 - jsonschema is for those who have one

            check_schema(asked.json_schema)
        try:
            await self._gateway.check(self.call_of(pinned, ""))
        except LLMError as fault:
            raise shown(fault, asked_in="messages" if asked.prompt_id is None else "variables") from fault
        return pinned

    async def privacy_of(self, user_id: str) -> Privacy:
        """The person's default, read each time: whoever has just changed it relies on it."""
        return await self._database.read(partial(default_privacy, user_id=user_id))

    def call_of(self, asked: QueryAsked, user_id: str) -> Call:
        """Of what was prepared. Raises QueryRefused for a prompt that is gone meanwhile."""
        prompt: PromptVersion | tuple[dict[str, Any], ...]
        if asked.prompt_id is not None:
            prompt = self._prompt(asked.prompt_id, asked.prompt_version)
        else:
            prompt = tuple({"role": str(said.role), "content": said.content} for said in asked.messages or ())
        return Call(
            task=TASK,
            prompt=prompt,
            variables=asked.variables,
            document=asked.document,
            spender=Spender(user_id=user_id, lane=LANE),
            deadline_seconds=self.deadline_seconds,
            privacy=Privacy(str(asked.privacy)),  # raises where nobody said: nothing is sent for want of a word
            models=models_of(asked.model, asked.fallback_models),
            parameters=_parameters(asked.parameters),
            cache=CacheScope.PERSON,
        )

    def first_call(self) -> FirstCall | None:
        """What a plain query asks first, see `is_plain`; None while that depends."""
        return self._gateway.first_call(TASK)

    async def ask(self, request: QueryRequest, user_id: str, recorder: AttemptRecorder) -> Columns:
        """The result columns. Raises LLMError, and what the recorder raises."""
        try:
            call = self.call_of(request, user_id)
            if request.json_schema is None:
                completion = await self._gateway.complete(call, recorder)
                return done(completion.content, completion.finish_reason, completion.receipt)
            from app.queries.structure import form_of  # noqa: PLC0415 - as above

            answer = await self._gateway.extract(call, form_of(request.json_schema), recorder)
        except (QueryRefused, PromptRefused) as refusal:
            raise LLMBadRequest(refusal.message) from refusal
        return {**done(None, "stop", answer.receipt), "answer": _answer(None, "stop", answer.content.model_extra)}

    def stream(self, asked: QueryAsked, user_id: str, recorder: AttemptRecorder) -> AsyncGenerator[StreamEvent]:
        return self._gateway.stream(self.call_of(asked, user_id), recorder)

    def _prompt(self, prompt_id: str, version: int | None) -> PromptVersion:
        try:
            return self._prompts.get(prompt_id, version)
        except NotFound as error:
            known = any(prompt.id == prompt_id for prompt in self._prompts.prompts())
            raise QueryRefused("promptVersion" if known else "promptId", "unknown", error.message) from error


def is_plain(request: Mapping[str, Any]) -> bool:
    """Whether a query, as it is stored, leaves the choice of the model to the task alone."""
    chosen = request.get("model") or request.get("prompt_id")
    return request.get("privacy") == Privacy.ANY and not chosen


def check_role(role: Role, model: str | None, fallback_models: Sequence[str]) -> None:
    """Who may name models; a task's plan is everybody's. Raises Forbidden."""
    named = model is not None and not model.startswith(TASK_PREFIX)
    if (named or fallback_models) and role < Role.OPERATOR:
        raise Forbidden("To name a model needs the role operator; task:NAME is for everybody.")


def models_of(model: str | None, fallback_models: Sequence[str]) -> tuple[str, ...]:
    return () if model is None else (model, *fallback_models)


def _parameters(said: ParametersIn) -> Parameters:
    return Parameters(
        temperature=said.temperature,
        max_tokens=said.max_tokens,
        stop=said.stop,
        top_p=said.top_p,
        seed=said.seed,
    )


def shown(fault: LLMError, *, asked_in: str | None = None) -> ApiError:
    """The fault, to somebody who waits for the answer; `asked_in` is the field that holds what was asked."""
    if isinstance(fault, LLMBadRequest) and fault.field is not None:
        field = "model" if fault.field == "models" else to_camel(fault.field)
        return QueryRefused(field, "call", fault.explain())
    if isinstance(fault, LLMBudgetExceeded):
        return BudgetExceeded(fault)
    field_at_fault = asked_in if isinstance(fault, LLMContextTooLong) else None
    return failure_of(type(fault), fault.explain(), fault.retry_after_seconds, field=field_at_fault)


def failure_of(
    kind: type[LLMError],
    sentence: str,
    wait_seconds: float | None = None,
    *,
    field: str | None = None,
    **details: object,
) -> CallFailed:
    """The answer to who waits for a call that failed so."""
    code = BudgetExceeded.code if kind is LLMBudgetExceeded else kind.code
    status = _STATUSES.get(kind.code, CallFailed.status)
    field = "model" if kind is LLMModelNotFound else field
    if field is not None:
        details["errors"] = [{"field": field, "rule": "call", "message": sentence}]
    return CallFailed(sentence, {"family": kind.family, **details}, code=code, status=status, wait_seconds=wait_seconds)


def done(content: str | None, finish_reason: str, receipt: Receipt) -> Columns:
    """The result columns of an answer in free form."""
    return {
        "status": QueryStatus.DONE,
        "answer": _answer(content, finish_reason, None),
        "receipt": receipt_out(receipt).model_dump(mode="json"),
    }


def failed(fault: LLMError) -> Columns:
    """The result columns of a fault; of a spent budget, which one and until when."""
    columns = {"status": QueryStatus.FAILED, "query_error": f"{fault.code}: {fault.explain()}"[:500]}
    if isinstance(fault, LLMBudgetExceeded) and fault.spent is not None:
        return {**columns, "receipt": fault.spent.told()}
    return columns


def _answer(content: str | None, finish_reason: str, data: object) -> Columns:
    return {"content": _storable(content), "finishReason": finish_reason, "data": _storable(data)}


def _storable(value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Without what neither engine stores, which a model may well write."""
    if isinstance(value, str):
        return value.replace("\x00", "").encode(errors="replace").decode()
    if isinstance(value, list):
        return [_storable(entry) for entry in value]
    if isinstance(value, dict):
        return {_storable(name): _storable(entry) for name, entry in value.items()}
    return value


def usage_out(usage: Usage) -> UsageOut:
    return UsageOut(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)


def receipt_out(receipt: Receipt) -> ReceiptOut:
    attempts = [
        AttemptOut(
            provider=note.provider,
            model=note.model,
            reason=note.reason,
            outcome=note.outcome,
            error_code=note.error_code,
            usage=usage_out(note.usage),
            cost_usd=_dollars(note.usage.cost_usd),
        )
        for note in receipt.attempts
    ]
    return ReceiptOut(
        model=receipt.model,
        provider=receipt.provider,
        usage=usage_out(receipt.usage),
        cost_usd=_dollars(receipt.cost_usd),
        cached=receipt.cached,
        coverage=receipt.coverage,
        compressed_tokens=receipt.compressed_tokens,
        prompt=receipt.prompt,
        attempts=attempts,
    )


def attempt_of(row: LLMAttempt) -> AttemptOut:
    """As the books have it."""
    return AttemptOut(
        provider=row.provider,
        model=row.model,
        reason=row.reason or "",
        outcome=row.outcome,
        error_code=row.error_code,
        usage=UsageOut(input_tokens=row.input_tokens, output_tokens=row.output_tokens),
        cost_usd=_dollars(row.cost_usd),
    )


def with_lost(receipt: Columns, lost: Sequence[AttemptOut]) -> Columns:
    """The stored receipt and the attempts before it, whose cost is part of the whole."""
    costs = [receipt["cost_usd"], *(attempt.cost_usd for attempt in lost)]
    attempts = [attempt.model_dump(mode="json") for attempt in lost] + receipt["attempts"]
    return {**receipt, "attempts": attempts, "cost_usd": _sum(costs)}


def in_vain(attempts: Sequence[AttemptOut]) -> Columns:
    """What a query that failed tried and what it cost, as its error's details say it."""
    tried = [attempt.model_dump(mode="json", by_alias=True) for attempt in attempts]
    return {"attempts": tried, "costUsd": _sum([attempt.cost_usd for attempt in attempts])}


def _sum(costs: Sequence[float | None]) -> float | None:
    """None when one of them is unknown."""
    known = [cost for cost in costs if cost is not None]
    return sum(known, 0.0) if len(known) == len(costs) else None


def _dollars(cost: Any) -> float | None:  # noqa: ANN401 - Decimal
    return None if cost is None else float(cost)
