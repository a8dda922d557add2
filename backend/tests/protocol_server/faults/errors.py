"""The errors an upstream answers with, in OpenAI's words; another vendor's wire dresses the same facts its
own way.

`message` is filled with {key}, {model}, {text} (the beginning of the user's text) and {tokens}: what a
careless program would let into its log.
"""

from dataclasses import dataclass


@dataclass(slots=True, frozen=True)
class UpstreamError:
    status: int
    kind: str
    code: str | None
    message: str
    param: str | None = None


_INVALID = "invalid_request_error"

# fault name → the error and the line of the table
UPSTREAM_ERRORS: dict[str, tuple[UpstreamError, str]] = {
    "400": (
        UpstreamError(400, _INVALID, None, "Invalid value for 'content': could not process '{text}'.", "messages"),
        "400 whose message repeats the beginning of the user's text.",
    ),
    "400_policy": (
        UpstreamError(
            400,
            _INVALID,
            "content_policy_violation",
            "Your request was rejected as a result of our safety system.",
        ),
        "400 content_policy_violation.",
    ),
    "400_context": (
        UpstreamError(
            400,
            _INVALID,
            "context_length_exceeded",
            "This model's maximum context length is 1000 tokens. However, your messages resulted in {tokens} "
            "tokens. Please reduce the length of the messages.",
            "messages",
        ),
        "400 context_length_exceeded.",
    ),
    "401": (
        UpstreamError(401, _INVALID, "invalid_api_key", "Incorrect API key provided: {key}."),
        "401 whose message repeats the whole API key.",
    ),
    "403": (
        UpstreamError(
            403,
            "request_forbidden",
            "unsupported_country_region_territory",
            "Country, region, or territory not supported",
        ),
        "403 request_forbidden.",
    ),
    "404": (
        UpstreamError(
            404,
            _INVALID,
            "model_not_found",
            "The model `{model}` does not exist or you do not have access to it.",
        ),
        "404 model_not_found.",
    ),
    "408": (UpstreamError(408, "timeout", None, "Request timed out."), "408 request timed out."),
    "429": (
        UpstreamError(
            429,
            "requests",
            "rate_limit_exceeded",
            "Rate limit reached for {model} on requests per min (RPM): Limit 3, Used 3, Requested 1.",
        ),
        "429 rate_limit_exceeded without Retry-After.",
    ),
    "429_quota": (
        UpstreamError(
            429,
            "insufficient_quota",
            "insufficient_quota",
            "You exceeded your current quota, please check your plan and billing details.",
        ),
        "429 insufficient_quota, without Retry-After.",
    ),
    "500": (
        UpstreamError(500, "server_error", None, "The server had an error while processing your request. Sorry!"),
        "500 server_error.",
    ),
    "503": (
        UpstreamError(503, "server_error", None, "The engine is currently overloaded, please try again later."),
        "503 engine overloaded.",
    ),
    "529": (UpstreamError(529, "overloaded_error", None, "Overloaded"), "529 overloaded, as Anthropic says it."),
}
