"""What every request passes: request id, bounds on the body, one form for every error.

`RequestContext` is the outermost layer of our own; whatever fails inside leaves as the envelope of API.md.
"""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from math import ceil
from typing import Annotated, Any

import orjson
import structlog
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints
from pydantic.alias_generators import to_camel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.clock import local_seconds
from app.complaints import complaints_of
from app.database import Database, new_id
from app.errors import ApiError, BudgetExceeded, CallFailed, DailyQuotaExceeded, LLMBudgetExceeded, PayloadTooLarge

log = structlog.get_logger()
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LENGTH_DIGITS = 18
_PARAMETER = re.compile(r"\{\w+\}")
_BODY_METHODS = frozenset({"POST", "PUT", "PATCH"})
_HTTP_CODES = {
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    413: "PAYLOAD_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
}
_HTTP_SENTENCES = {
    404: "There is nothing under this path.",
    405: "This path does not take this method; the Allow header names those it takes.",
    413: PayloadTooLarge.sentence,
    415: "The body must be application/json.",
}
OPENAI_PREFIX = "/v1/"
_OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_OPENAI_CODES = {
    "UNAUTHORIZED": "invalid_api_key",
    "LLM_CONTEXT_TOO_LONG": "context_length_exceeded",
    "LLM_CONTENT_REFUSED": "content_policy_violation",
    "LLM_RATE_LIMITED": "rate_limit_exceeded",
    "LLM_BUDGET_EXCEEDED": "insufficient_quota",
    "BUDGET_EXCEEDED": "insufficient_quota",
}


class WireModel(BaseModel):
    """A shape on the wire: camelCase outside, snake_case inside."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, from_attributes=True)


def _storable(value: str) -> str:
    """Neither engine stores the two."""
    if "\x00" in value:
        raise ValueError("must not contain NUL characters")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError("must not contain lone surrogates") from None
    return value


def storable_json(value: object) -> object:
    """Any JSON, all through."""
    try:
        _storable(json.dumps(value, ensure_ascii=False, default=str))
        if _holds_nul(value):
            raise ValueError("must not contain NUL characters")
    except RecursionError:
        raise ValueError("is nested too deep") from None
    return value


def _holds_nul(value: object) -> bool:
    if isinstance(value, dict):
        return any(_holds_nul(entry) for pair in value.items() for entry in pair)
    if isinstance(value, list | tuple):
        return any(_holds_nul(entry) for entry in value)
    return isinstance(value, str) and "\x00" in value


def _wire_time(value: datetime) -> str:
    return value.isoformat(timespec="microseconds").replace("+00:00", "Z")


WireTime = Annotated[datetime, PlainSerializer(_wire_time, return_type=str)]
_Storable = Annotated[str, AfterValidator(_storable), Field(json_schema_extra={"pattern": r"^[^\u0000]*$"})]
Text = _Storable
StorableJson = Annotated[Any, AfterValidator(storable_json)]
Id = Annotated[_Storable, StringConstraints(min_length=1, max_length=64)]


class ErrorBody(WireModel):
    code: str
    message: str
    request_id: str
    details: dict[str, Any] | None = None


class ErrorEnvelope(WireModel):
    """The body of every answer that is not a success."""

    error: ErrorBody


class OpenAIErrorBody(BaseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIError(BaseModel):
    """The body of every answer on OpenAI's paths that is not a success."""

    error: OpenAIErrorBody


class RequestContext:
    """The outermost layer: a request's id, on the answer and in every log line, and a line at its end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        offered = _header(scope, b"x-request-id").decode("latin-1")
        request_id = offered if _REQUEST_ID.fullmatch(offered) else new_id()
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status: int | None = None

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id.encode())]
            await send(message)

        began = local_seconds()
        try:
            await self._app(scope, receive, send_with_id)
        finally:
            route = getattr(scope.get("route"), "path", None)
            milliseconds = round((local_seconds() - began) * 1000, 1)
            log.info("request.handled", method=scope["method"], route=route, status=status, ms=milliseconds)


class Guard:
    """Refuses what the headers alone rule out, bounds the body, and turns what nobody caught into a 500."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        received, begun = 0, False

        async def receive_bounded() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_body_bytes:
                raise HTTPException(413)  # as our own error FastAPI would take it for a body that it cannot read
            return message

        async def send_noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive_bounded, send_noting)
        except Exception:
            log.exception("request.failed")
            if begun:
                raise  # the connection must break, or the client takes a part for the whole
            answer = error_response(scope, 500, "INTERNAL_ERROR", ApiError.sentence)
            await answer(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        length = _header(scope, b"content-length")
        if length.isdigit() and (len(length) > _LENGTH_DIGITS or int(length) > self._max_body_bytes):
            return error_response(scope, 413, PayloadTooLarge.code, PayloadTooLarge.sentence)
        has_body = length not in (b"", b"0") or _header(scope, b"transfer-encoding") != b""
        if scope["method"] in _BODY_METHODS and has_body and not _is_json(_header(scope, b"content-type")):
            return error_response(scope, 415, _HTTP_CODES[415], _HTTP_SENTENCES[415])
        return None


def _header(scope: Scope, name: bytes) -> bytes:
    return next((value for key, value in scope["headers"] if key == name), b"")


def _is_json(content_type: bytes) -> bool:
    media_type = content_type.split(b";")[0].strip().lower()
    return media_type == b"application/json" or media_type.endswith(b"+json")


def error_response(
    scope: Scope,
    status: int,
    code: str,
    message: str,
    *,
    details: Mapping[str, object] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """In the envelope, or on OpenAI's paths in OpenAI's form."""
    if scope["path"].startswith(OPENAI_PREFIX):
        body = openai_error(status, code, message, details)
    else:
        body = envelope(scope["state"]["request_id"], code, message, details)
    return Response(orjson.dumps(body), status, dict(headers or {}), "application/json")


def envelope(request_id: str, code: str, message: str, details: Mapping[str, object] | None) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "requestId": request_id, "details": details}}


def openai_error(status: int, code: str, message: str, details: Mapping[str, object] | None) -> dict[str, Any]:
    """As OpenAI writes it: `param` is the field, and a fault that OpenAI knows has OpenAI's code."""
    errors = (details or {}).get("errors")
    param = errors[0]["field"] if isinstance(errors, list) and errors else None
    kind = _OPENAI_TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    known = "model_not_found" if (status, param) == (404, "model") else _OPENAI_CODES.get(code, code.lower())
    return {"error": {"message": message, "type": kind, "param": param, "code": known}}


def install_error_handlers(app: FastAPI) -> None:
    """Every error that a route or the router raises leaves as the envelope."""
    app.add_exception_handler(ApiError, _answer_api_error)
    app.add_exception_handler(LLMBudgetExceeded, _answer_budget)
    app.add_exception_handler(HTTPException, _answer_http_exception)
    app.add_exception_handler(RequestValidationError, _answer_validation_error)


async def _answer_api_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)  # noqa: S101 - Starlette looks handlers up by type
    if error.status >= 500:
        log.warning("request.unavailable", exc_info=error)
    headers = {"Retry-After": _whole_seconds(error)} if error.retryable else {}
    if isinstance(error, CallFailed | BudgetExceeded | DailyQuotaExceeded) and not error.retryable:
        # Heard by the official clients, which would else repeat what the gateway has just tried for them.
        headers["X-Should-Retry"] = "false"
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return error_response(
        request.scope,
        error.status,
        error.code,
        error.message,
        details=error.details,
        headers=headers,
    )


def _whole_seconds(error: ApiError) -> str:
    named = error.retry_after_seconds if isinstance(error, CallFailed) else None
    return str(max(1, ceil(named or 1)))


async def _answer_budget(request: Request, error: Exception) -> Response:
    """Of a call that somebody waits for; an item waits in the queue instead."""
    assert isinstance(error, LLMBudgetExceeded)  # noqa: S101 - as above
    return await _answer_api_error(request, BudgetExceeded(error))


async def _answer_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    status = error.status_code
    if status == 400:
        return _schema_error(
            request, [{"field": "body", "rule": "json_invalid", "message": "The body is not valid JSON."}]
        )
    code = _HTTP_CODES.get(status, "VALIDATION_ERROR")
    sentence = _HTTP_SENTENCES.get(status, "The request cannot be served.")
    headers = {**(error.headers or {}), **(_allow_header(request) if status == 405 else {})}
    return error_response(request.scope, status, code, sentence, headers=headers)


def _allow_header(request: Request) -> dict[str, str]:
    """Every method of the path; the router's own answer knows only the first route that fits.

    Of the declared paths that fit, the one with the fewest parameters is meant: /items/bulk, not /items/{item_id}.
    """
    fitting = [
        (path.count("{"), methods)
        for path, methods in request.app.openapi()["paths"].items()
        if re.fullmatch(_PARAMETER.sub("[^/]+", path), request.url.path)
    ]
    if not fitting:
        return {}
    _, methods = min(fitting, key=lambda found: found[0])
    return {"Allow": ", ".join(method.upper() for method in methods)}


async def _answer_validation_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    return _schema_error(request, complaints_of(error.errors(), error.body))


def _schema_error(request: Request, errors: list[dict[str, str]]) -> Response:
    sentence = "The request does not have the required form: " + "; ".join(
        f"{e['field']}: {e['message']}" for e in errors[:3]
    )
    return error_response(request.scope, 422, "VALIDATION_ERROR", sentence, details={"errors": errors})


async def _database_of(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


DatabaseOf = Annotated[Database, Depends(_database_of)]
_MEANINGS = {
    400: "A value that cannot be used, or a damaged cursor.",
    401: "Nobody said who is calling.",
    403: "The caller's role is too low.",
    404: "Nothing of the caller's has this id.",
    405: "The path does not take this method.",
    409: "The state of the row, or an earlier request, forbids this.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "The request does not have the required form.",
    429: "A quota, a limit or a budget is used up; `details` says how much and until when.",
    500: "A fault of the server.",
    502: "The provider failed, or gave an answer that cannot be used.",
    503: "The database, or the model, cannot be used right now.",
    504: "The model did not answer in time.",
}
_ALWAYS = (401, 413, 415, 422, 500, 503)


def declared_errors(*statuses: int, form: type[BaseModel] = ErrorEnvelope) -> dict[int | str, dict[str, Any]]:
    """These errors, for a route's `responses`; all in the one envelope, or in OpenAI's form."""
    return {status: {"model": form, "description": _MEANINGS[status]} for status in statuses}


def declared_stream_errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The same for a route that answers with a stream, and the common ones: its errors are JSON all the same."""
    form = {"application/json": {"schema": {"$ref": f"#/components/schemas/{ErrorEnvelope.__name__}"}}}
    return {status: {"content": form, "description": _MEANINGS[status]} for status in (*_ALWAYS, *statuses)}


COMMON_ERRORS = declared_errors(*_ALWAYS)
OPENAI_ERRORS = declared_errors(*_ALWAYS, 400, 403, 404, 409, 429, 502, 504, form=OpenAIError)
