"""A text made smaller before a model is paid to read it: blanks, what is said twice, comments in code.

Each step can be switched off. None makes a text longer or brings anything in that was not there, but for the times
sign behind a line that stood several times; compressing again changes nothing. Code in fences keeps its white space.
Most texts hold little of it: what a plain search for a few characters rules out, no pattern looks for.
"""

import re
from dataclasses import dataclass
from itertools import groupby

from app.context.code_comments import without_comments
from app.context.tokens import Count


@dataclass(frozen=True, slots=True)
class Steps:
    """What may be done. Prose in comments is lost with them; one that holds a number or an address stays."""

    blanks: bool = False
    repeats: bool = False
    comments: bool = False


@dataclass(frozen=True, slots=True)
class Compressed:
    text: str
    tokens_before: int
    tokens_after: int


# A block of code between fences of the same kind, or the rest of a text whose last fence was not closed.
_FENCED = re.compile(
    r"^ {0,3}(?P<fence>`{3,}|~{3,})(?P<info>[^\n`]*)\n(?P<code>.*?)(?:(?P<end>^ {0,3}(?P=fence)[`~]*[ \t]*$)|\Z)",
    re.MULTILINE | re.DOTALL,
)
_SPACE_LIKE = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")
# Zero width, with no meaning for a reader; the joiners that emoji and Persian need are not among them.
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")
# The run is taken once: split around a tab in every way, a long one would take time by its square.
_INNER_BLANKS = re.compile(r"(?<=\S)(?: {2,}|(?=[ \t]*\t)[ \t]+)(?=\S)")
_EMPTY_LINES = re.compile(r"\n{3,}")
# A line drawn with signs, whole or in a table; not inside an address.
_RULE = re.compile(r"(?<![^\s|:+])([-=_*~.])\1{3,}(?![^\s|:+])")
_RULE_SIGNS = "-=_*~."
_INDENTED_CODE = ("    ", "\t")
# Shorter lines may be said twice for a reason.
_BOILERPLATE_CHARS = 30
_QUOTE_MARKS = re.compile(r"^[>\s]+")


def compress(text: str, count: Count, steps: Steps) -> Compressed:
    """Never more tokens than before; the text itself where nothing is gained. Off the event loop for large ones."""
    before, smaller = count(text), text
    # What one step took away may show the next one that two lines are the same.
    while (once := _once(smaller, steps)) != smaller:
        smaller = once
    after = before if smaller == text else count(smaller)
    return Compressed(smaller, before, after) if after < before else Compressed(text, before, before)


def _once(text: str, steps: Steps) -> str:
    if steps.blanks:
        text = text.replace("\r\n", "\n")
    seen: set[str] = set()
    parts: list[str] = []
    place = 0
    for block in _FENCED.finditer(text) if "```" in text or "~~~" in text else ():
        parts += [_prose(text[place : block.start()], steps, seen), _code(block, steps)]
        place = block.end()
    parts.append(_prose(text[place:], steps, seen))
    return "".join(parts)


def _code(block: re.Match[str], steps: Steps) -> str:
    code = block["code"]
    if not steps.comments or not block["end"]:
        return block[0]
    start, end = (place - block.start() for place in block.span("code"))
    return block[0][:start] + without_comments(code, block["info"]) + block[0][end:]


def _prose(text: str, steps: Steps, seen: set[str]) -> str:
    if steps.blanks:
        if not text.isascii():
            text = _INVISIBLE.sub("", _SPACE_LIKE.sub(" ", text))
        text = "\n".join(map(_narrow, text.split("\n")))
    if steps.repeats:
        if any(sign * 4 in text for sign in _RULE_SIGNS):
            text = _RULE.sub(r"\1\1\1", text)
        text = _without_repeats(text, seen)
    return _EMPTY_LINES.sub("\n\n", text) if steps.blanks and "\n\n\n" in text else text


def _narrow(line: str) -> str:
    line = line.rstrip(" \t\r\f\v")
    if ("  " not in line and "\t" not in line) or line.startswith(_INDENTED_CODE):
        return line
    return _INNER_BLANKS.sub(" ", line)


def _without_repeats(text: str, seen: set[str]) -> str:
    lines: list[str] = []
    for line, run in groupby(text.split("\n")):
        times = len(list(run))
        if not line.strip():
            lines += [line] * times
            continue
        if line.lstrip().startswith("|"):
            lines += [line] * times  # rows of a table are records: two equal ones are two
            continue
        key = line.strip()
        if key.startswith(">"):
            key = _QUOTE_MARKS.sub("", key)
        if key not in seen:
            lines += _told_once(line, times)
        if len(key) >= _BOILERPLATE_CHARS:
            seen.add(key)
    return "\n".join(lines)


def _told_once(line: str, times: int) -> list[str]:
    once = f"{line} ×{times}"
    return [once] if len(once) < len(line) * times else [line] * times
