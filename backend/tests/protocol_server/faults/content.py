"""Faults in what the model says: its form, its JSON, its fields. Each is generated, so each is billed, but
`html`.
"""

from tests.protocol_server.faults.plan import FaultTable, Plan, entry

CONTENT_FAULTS: FaultTable = {}

PROSE = "Certainly! Here is what I make of it: this is a note, and a fine one at that."
THOUGHT = '<think>The user wants JSON such as {"title": "draft"}. I should think about it.</think>\n'
REFUSAL = "I'm sorry, but I can't help with that."
_HTML = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><h1>Network login</h1></body></html>"
_MEGABYTE = 1_000_000


def _speak(plan: Plan, text: str) -> None:
    plan.rewrite, plan.is_spoken = lambda _json: text, True


@entry(CONTENT_FAULTS, "empty")
def _empty(plan: Plan, _value: float) -> None:
    """Content is the empty string, no tool call."""
    _speak(plan, "")


@entry(CONTENT_FAULTS, "prose")
def _prose(plan: Plan, _value: float) -> None:
    """A sentence instead of JSON, no tool call."""
    _speak(plan, PROSE)


@entry(CONTENT_FAULTS, "fenced")
def _fenced(plan: Plan, _value: float) -> None:
    """The good JSON in a Markdown fence in the content, no tool call."""
    plan.rewrite, plan.is_spoken = lambda json: f"Here you are:\n```json\n{json}\n```\n", True


@entry(CONTENT_FAULTS, "think")
def _think(plan: Plan, _value: float) -> None:
    """A <think> block with braces in the content before the good JSON (beside the tool call in tool mode)."""
    plan.thought = THOUGHT


@entry(CONTENT_FAULTS, "content_filter")
def _content_filter(plan: Plan, _value: float) -> None:
    """finish_reason content_filter with empty content."""
    _speak(plan, "")
    plan.finish_reason = "content_filter"


@entry(CONTENT_FAULTS, "refusal")
def _refusal(plan: Plan, _value: float) -> None:
    """message.refusal is set, content is null, finish_reason stop."""
    plan.refusal = REFUSAL


@entry(CONTENT_FAULTS, "cut")
def _cut(plan: Plan, _value: float) -> None:
    """JSON cut at half its length, finish_reason length."""
    plan.rewrite, plan.finish_reason = lambda json: json[: len(json) // 2], "length"


@entry(CONTENT_FAULTS, "tags_2")
def _two_tags(plan: Plan, _value: float) -> None:
    """Two tags, where three are the least."""
    plan.fields["tags"] = ["one", "two"]


@entry(CONTENT_FAULTS, "tags_7")
def _seven_tags(plan: Plan, _value: float) -> None:
    """Seven tags, where five are the most."""
    plan.fields["tags"] = ["one", "two", "three", "four", "five", "six", "seven"]


@entry(CONTENT_FAULTS, "tags_messy")
def _messy_tags(plan: Plan, _value: float) -> None:
    """Five tags, three of them distinct: upper case, spaces around, repeated."""
    plan.fields["tags"] = ["Alpha", "ALPHA", " alpha ", "Beta", "gamma"]


@entry(CONTENT_FAULTS, "long_title", default=150)
def _long_title(plan: Plan, length: float) -> None:
    """A title of so many characters."""
    plan.fields["title"] = ("Endless " * (int(length) // 8 + 1))[: int(length)]


@entry(CONTENT_FAULTS, "nul_title")
def _nul_title(plan: Plan, _value: float) -> None:
    """A NUL character in the title."""
    plan.fields["title"] = f"Zero\x00 {plan.fields.get('title')}"


@entry(CONTENT_FAULTS, "wrong_source_type")
def _wrong_source_type(plan: Plan, _value: float) -> None:
    """source_type is PODCAST."""
    plan.fields["source_type"] = "PODCAST"


@entry(CONTENT_FAULTS, "huge", default=50)
def _huge(plan: Plan, megabytes: float) -> None:
    """A summary (where words were asked for, a text) of so many megabytes."""
    text = "x" * int(megabytes * _MEGABYTE)
    plan.fields["summary"] = text
    if plan.words is not None:
        plan.words = text


@entry(CONTENT_FAULTS, "no_usage")
def _no_usage(plan: Plan, _value: float) -> None:
    """A good answer without its usage; billed all the same."""
    plan.has_usage = False


@entry(CONTENT_FAULTS, "cached", default=4)
def _cached(plan: Plan, tokens: float) -> None:
    """A good answer; the usage says that so many of its prompt tokens came from the vendor's cache."""
    plan.cached_tokens = min(int(tokens), plan.ask.prompt_tokens)


@entry(CONTENT_FAULTS, "cache_write", default=4)
def _cache_write(plan: Plan, tokens: float) -> None:
    """A good answer; Anthropic's usage says that so many of its prompt tokens went into the cache."""
    plan.cache_write_tokens = min(int(tokens), plan.ask.prompt_tokens - plan.cached_tokens)


@entry(CONTENT_FAULTS, "html")
def _html(plan: Plan, _value: float) -> None:
    """200 with a login page of some proxy; nothing was generated."""
    plan.body, plan.content_type, plan.is_generated = lambda _body: _HTML, "text/html; charset=utf-8", False
    plan.is_streamed = False


@entry(CONTENT_FAULTS, "invalid_json")
def _invalid_json(plan: Plan, _value: float) -> None:
    """200 application/json whose body is cut in the middle, with a content-length that agrees."""
    plan.body = lambda body: body[: len(body) // 2]
