"""How many tokens a text is for a model whose vocabulary nobody published: a guess on the safe side.

The weights were fitted to the texts of tests/context/scripts.py against the three vocabularies that are at hand
(OpenAI's two and the one Anthropic published), always to the one that needs most. Everything is counted by
`bytes.translate` and `bytes.count`, so a megabyte takes milliseconds: no loop over characters, please.
"""

# How far below the truth an estimate may fall for running text; tests/context/test_estimate.py measures it.
ESTIMATE_MARGIN = 0.05

# A byte of UTF-8 belongs to one class. Continuation bytes count for nothing: their lead byte has the whole weight.
_LOWER, _UPPER, _DIGIT, _SIGN, _BREAK, _SPACE, _NOTHING = b"aA0.\n ~"
_LEADS: tuple[tuple[int, int, float], ...] = (
    # first and last lead byte, tokens a character
    (0xC2, 0xCA, 2.0),  # Latin with accents
    (0xCB, 0xCF, 1.3),  # combining marks, Greek
    (0xD0, 0xD3, 0.65),  # Cyrillic
    (0xD4, 0xDF, 1.15),  # Armenian, Hebrew, Arabic
    (0xE0, 0xE0, 1.85),  # India's scripts, Thai, Lao
    (0xE1, 0xE1, 3.2),  # Georgian, Ethiopic, Khmer
    (0xE2, 0xE2, 2.0),  # typography, mathematics, symbols
    (0xE3, 0xE9, 1.4),  # Chinese, Japanese
    (0xEA, 0xED, 1.6),  # Korean
    (0xEE, 0xEF, 2.0),  # private use, full width
    (0xF0, 0xF7, 3.0),  # emoji
)
_FIRST_LEAD_CLASS = 0x80


def _classes() -> bytes:
    table = bytearray([_NOTHING]) * 256
    table[:0x80] = bytes([_SIGN]) * 0x80
    for characters, kind in (
        (b"abcdefghijklmnopqrstuvwxyz", _LOWER),
        (b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", _UPPER),
        (b"0123456789", _DIGIT),
        (b"\r\n", _BREAK),
        (b" \t", _SPACE),
    ):
        for character in characters:
            table[character] = kind
    for place, (first, last, _) in enumerate(_LEADS):
        table[first : last + 1] = bytes([_FIRST_LEAD_CLASS + place]) * (last + 1 - first)
    return bytes(table)


_CLASSES = _classes()


def estimate(text: str) -> int:
    """Tokens of `text`, rather too many than too few."""
    kinds = text.encode("utf-8", "surrogatepass").translate(_CLASSES)
    tokens = _words(kinds) + _blanks(kinds) + kinds.count(_DIGIT) + kinds.count(_SIGN)
    for place, (_, _, weight) in enumerate(_LEADS):
        tokens += kinds.count(_FIRST_LEAD_CLASS + place) * weight
    return int(tokens) + bool(kinds)


def _words(kinds: bytes) -> float:
    """A token for each word of Latin letters, more for a long one; a capital inside begins a word."""
    words = b" " + kinds.translate(_LETTERS_AGAINST_REST)
    starts = words.count(b" a") + words.count(b" A") + words.count(b"aA")
    return starts + kinds.count(b"a" * 5) + kinds.count(b"a" * 9) + kinds.count(b"a" * 12) + kinds.count(b"AA")


def _blanks(kinds: bytes) -> float:
    """The space between two words belongs to the second one; what stands in a row is merged, eight at a time."""
    return kinds.count(_BREAK) + kinds.count(b"  ") / 4 + kinds.count(b"\n ") / 2


_LETTERS_AGAINST_REST = bytes(kind if kind in (_LOWER, _UPPER) else _SPACE for kind in range(256))
