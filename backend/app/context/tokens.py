"""How many tokens a text is for a model: counted where its vocabulary is known, else estimated on the safe side.

Never asks the network: the vocabularies are files that come with litellm's package, which is not imported for it.
The first count with a vocabulary loads it (0.1 to 0.3 s, 30 to 80 MB): count off the event loop.
"""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from app.context.estimate import ESTIMATE_MARGIN, estimate

if TYPE_CHECKING:
    from tiktoken import Encoding

# Tokens of a text. What fits texts asks for nothing more, so that a test can count characters instead.
Count = Callable[[str], int]

# tiktoken slows down on long runs without a word's end and gives up on very long ones; the pieces bound what it gets.
_PIECE_CHARS = 4096
# Where every vocabulary of OpenAI ends a token, so that the counts of the pieces add up: behind a letter or digit,
# before white space or the marks that no word begins with.
_TOKEN_END = re.compile(r"(?<=[^\W_])(?=[\s,.;:!?)，。、！？])")
_VOCABULARIES = frozenset({"o200k_base", "o200k_harmony", "cl100k_base"})


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """One way of counting. `margin` is the share by which the truth may lie above `count`; 0 for a real tokenizer."""

    name: str
    count: Count
    margin: float = 0.0


ESTIMATOR = Tokenizer("estimate", estimate, ESTIMATE_MARGIN)


@lru_cache(maxsize=256)
def tokenizer_of(model: str) -> Tokenizer:
    """For `provider/model` or a model's bare name; the estimator where nobody published the vocabulary."""
    vocabulary = _vocabulary_of(model.rsplit("/", 1)[-1])
    if vocabulary is None:
        return ESTIMATOR

    def count(text: str) -> int:
        encoding = _encoding(vocabulary)
        return sum(len(encoding.encode_ordinary(piece)) for piece in pieces(text))

    return Tokenizer(vocabulary, count)


def pieces(text: str) -> Iterator[str]:
    """`text` in pieces of bounded length, cut where a token ends if there is such a place."""
    start = 0
    while len(text) - start > _PIECE_CHARS:
        end = _piece_end(text, start)
        yield text[start:end]
        start = end
    yield text[start:]


def _piece_end(text: str, start: int) -> int:
    latest = start + _PIECE_CHARS
    # Mostly a word's end is near, and then the rest of the piece need not be searched.
    for begin in (latest - 128, start + 1):
        ends = [found.end() for found in _TOKEN_END.finditer(text, begin, latest)]
        if ends:
            return ends[-1]
    return latest


def _vocabulary_of(model: str) -> str | None:
    from tiktoken.model import encoding_name_for_model  # noqa: PLC0415 - the stub's server never needs it

    try:
        name = encoding_name_for_model(model)
    except KeyError:
        return None
    return name if name in _VOCABULARIES and _vocabulary_folder() else None


def _vocabulary_folder() -> Path | None:
    """Where litellm keeps the vocabularies in its package; None if a release of it keeps them no longer."""
    package = find_spec("litellm")
    for place in (package and package.submodule_search_locations) or ():
        folder = Path(place) / "litellm_core_utils" / "tokenizers"
        if folder.is_dir():
            return folder
    return None


def _encoding(name: str) -> "Encoding":
    import tiktoken  # noqa: PLC0415 - as above

    # Else it would ask the network. litellm sets the same folder when it is imported; tiktoken keeps what it loaded.
    os.environ["TIKTOKEN_CACHE_DIR"] = str(_vocabulary_folder())
    return tiktoken.get_encoding(name)
