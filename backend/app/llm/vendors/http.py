"""How vendors' code that knows no session of its caller is brought to use ours, and to send each request once.

OpenAI's wire takes the session as an option. Others open connections by themselves: past the guard of addresses, past
the bound of answers, and after a broken connection a second time, which is then a call that is not on the books.
"""

from typing import Any

import orjson


def http_handler(litellm: Any, session: Any, *, timeout_seconds: float) -> Any:  # noqa: ANN401 - litellm's
    """litellm's client for the wires that are not OpenAI's, over this session."""
    kind = litellm.AsyncHTTPHandler
    # For the whole process: litellm makes such clients by itself too, for vendors that it knows by name.
    kind.single_connection_post_request = _not_again

    class Handler(kind):  # type: ignore[misc, valid-type]  # litellm's, imported late
        async def post(self, *parts: Any, **request: Any) -> Any:  # noqa: ANN401 - httpx.Response
            response = await super().post(*parts, **request)
            return response if request.get("stream") else _with_usage(response)

    return Handler(timeout=timeout_seconds, shared_session=session)


def _with_usage(response: Any) -> Any:  # noqa: ANN401 - httpx.Response
    """A message that counts no tokens breaks litellm; with empty counts it is an answer whose usage is unknown."""
    import httpx  # noqa: PLC0415 - with litellm

    try:
        message = orjson.loads(response.content)
    except ValueError:
        return response
    if not isinstance(message, dict) or message.get("type") != "message" or isinstance(message.get("usage"), dict):
        return response
    body, headers = orjson.dumps({**message, "usage": {}}), {"Content-Type": "application/json"}
    return httpx.Response(response.status_code, headers=headers, content=body, request=response.request)


async def _not_again(*_: object, **_request: object) -> None:
    """In place of litellm's second try; what broke the first is this error's context."""
    import httpx  # noqa: PLC0415 - with litellm

    raise httpx.NetworkError("broken off")
