"""The HTTP session that all calls share: closed with the client, with room for every call, a bound to every answer."""

import zlib
from collections.abc import AsyncIterator
from typing import Any

from app.llm.vendors.starts import headers_are_sent, request_has_left
from app.providers.outbound import ConnectionGuard, RedirectRefused, refuse_redirect

# A model that answers with more than this does not answer us. The vendors' code takes minutes over what is longer,
# on the thread of all calls. Of a stream it holds for one line: `stream_reading.py` bounds the whole.
_LARGEST_ANSWER_BYTES = 8_000_000
_STREAM = "text/event-stream"
_PACKED = frozenset({"gzip", "deflate"})
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32


class AnswerTooLarge(Exception):
    """The answer was not read, or not to its end."""


class _BoundedContent:
    """In place of aiohttp's reader: an answer in chunks does not say beforehand how long it is."""

    def __init__(self, content: Any, *, is_stream: bool, encoding: str) -> None:  # noqa: ANN401 - aiohttp's StreamReader
        self._content, self._is_stream = content, is_stream
        # A small answer may unpack to gigabytes; it is unpacked further up, where nobody counts.
        self._unpacking = zlib.decompressobj(_GZIP_OR_ZLIB) if encoding in _PACKED else None

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the reader has
        return getattr(self._content, name)

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        """The only way in which the vendors' code reads. Raises AnswerTooLarge."""
        read = 0
        async for chunk in self._content.iter_chunked(size):
            data = self._unpacking.decompress(chunk) if self._unpacking else chunk
            line_end = data.rfind(b"\n") if self._is_stream else -1
            read = read + len(data) if line_end < 0 else len(data) - line_end
            if read > _LARGEST_ANSWER_BYTES:
                raise AnswerTooLarge
            yield chunk


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
            encoding = self.headers.get("Content-Encoding", "").lower()
            bounded: Any = _BoundedContent(self.content, is_stream=self.content_type == _STREAM, encoding=encoding)
            self.content = bounded
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
