"""What of a model's window is left for a document, in tokens: arithmetic only, nobody is asked.

The rule that no other line may break: prompt and answer together never exceed the window, also where the prompt
was only estimated.
"""

from dataclasses import dataclass
from math import floor

from app.context.tokens import Tokenizer

# Chat templates wrap each message in a role and end marks, and begin the answer: 3 or 4 tokens at OpenAI, up to
# about ten elsewhere.
_MESSAGE_TOKENS = 10
_ANSWER_START_TOKENS = 10
# Of the window: what a server counts otherwise than we do, even with the same vocabulary.
_SAFETY_SHARE = 0.01
# What a server that tells nothing can be trusted with; Ollama cuts off what is longer, without a word.
UNKNOWN_WINDOW_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Window:
    """`tokens` holds prompt and answer together; the answer has no other bound where `max_output_tokens` is None."""

    tokens: int
    max_output_tokens: int | None = None


UNKNOWN_WINDOW = Window(UNKNOWN_WINDOW_TOKENS)


def room_for_document(
    window: Window, tokenizer: Tokenizer, *, fixed_tokens: int, output_tokens: int, messages: int = 2
) -> int | None:
    """In the counts of the tokenizer, what is left beside `fixed_tokens`: the system message, the template around the
    document, schema and tools. None where not even one token is.
    """
    output = min(output_tokens, window.max_output_tokens or output_tokens)
    overhead = messages * _MESSAGE_TOKENS + _ANSWER_START_TOKENS
    left = floor(_prompt_tokens(window, output) / (1 + tokenizer.margin)) - overhead - fixed_tokens
    return left if left >= 1 else None


def _prompt_tokens(window: Window, output_tokens: int) -> int:
    return floor(window.tokens * (1 - _SAFETY_SHARE)) - output_tokens
