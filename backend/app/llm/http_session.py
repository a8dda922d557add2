"""The HTTP session that all calls share: closed with the client, with room for every call."""

from typing import Any

from app.llm.starts import headers_are_sent, request_has_left
from app.providers.outbound import ConnectionGuard, RedirectRefused, refuse_redirect

# A model that answers with more than this does not answer us. An answer sent in chunks does not say its
# length: the deadline alone bounds that one.
_LARGEST_ANSWER_BYTES = 8_000_000


class AnswerTooLarge(Exception):
    """The answer was not read."""


def http_session(guard: ConnectionGuard) -> Any:  # noqa: ANN401 - aiohttp.ClientSession
    """A new session of the running loop, which reaches only what the guard allows."""
    import aiohttp  # noqa: PLC0415 - a heavy import, and litellm's

    class BoundedResponse(aiohttp.ClientResponse):
        async def start(self, connection: Any) -> aiohttp.ClientResponse:  # noqa: ANN401 - aiohttp's
            response = await super().start(connection)
            try:
                # Here, and not by an option: the vendors' client above this one follows redirects by itself.
                refuse_redirect(self.status, self.headers)
            except RedirectRefused:
                self.close()
                raise
            if (self.content_length or 0) > _LARGEST_ANSWER_BYTES:
                self.close()
                raise AnswerTooLarge
            return response

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(request_has_left)
    trace.on_request_headers_sent.append(headers_are_sent)
    return aiohttp.ClientSession(
        connector=guard.connector(limit=0, keepalive_timeout=120, ttl_dns_cache=300),
        cookie_jar=aiohttp.DummyCookieJar(),
        response_class=BoundedResponse,
        trace_configs=[trace],
    )
