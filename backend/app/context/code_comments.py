"""Comments taken out of code, carefully: only those that stand alone on their lines, never anything in a string.

A language is read by a small lexer that knows its strings. Where a block holds what the lexer does not know (a here
document, a raw string, a quote without its partner) nothing is taken out of it.
"""

import re
from dataclasses import dataclass

from app.context.boundaries import Span

# Not where three quotes stand together: the strings that begin so are known to the language, or to nobody here.
_ESCAPED = r'(?!""")"(?:\\.|[^"\\\n])*"'
_ESCAPED_SINGLE = r"(?!''')'(?:\\.|[^'\\\n])*'"
_BLOCK = r"/\*(?:(?!/\*).)*?\*/"  # one inside another is left to those who know whether that is allowed
_SLASHES = rf"//[^\n]*|{_BLOCK}"


@dataclass(frozen=True, slots=True)
class _Language:
    strings: str
    comments: str
    # A quote that is left over, or a construct that may hold lines which look like comments.
    unknown: str


_PYTHON = _Language(
    rf'"""(?:\\.|[^\\])*?"""|\'\'\'(?:\\.|[^\\])*?\'\'\'|{_ESCAPED}|{_ESCAPED_SINGLE}', r"#[^\n]*", r"[\"']"
)
_C = _Language(f"{_ESCAPED}|{_ESCAPED_SINGLE}", _SLASHES, r"/\*|[@#]\"|\bR\"|[\"']")
_JAVASCRIPT = _Language(
    rf"{_ESCAPED}|{_ESCAPED_SINGLE}|`(?:\\.|[^`\\$]|\$(?!\{{)|\$\{{[^`{{}}]*\}})*`", _SLASHES, r"/\*|[\"'`]"
)
_GO = _Language(rf"{_ESCAPED}|{_ESCAPED_SINGLE}|`[^`]*`", _SLASHES, r"/\*|[\"'`]")
_RUST = _Language(r'\bb?"(?:\\.|[^"\\])*"|"(?:\\.|[^"\\])*"|\'(?:\\.[^\']*|[^\'\\\n])\'', _SLASHES, r"/\*|\bb?r#*\"|\"")
_CSS = _Language(f"{_ESCAPED}|{_ESCAPED_SINGLE}", _BLOCK, r"/\*|[\"']")
_SQL = _Language(r"'(?:[^']|'')*'|\"[^\"]*\"", rf"--[^\n]*|{_BLOCK}", r"/\*|\$\w*\$|[\"']")
_SHELL = _Language(r"\\.|\"(?:\\.|[^\"\\])*\"|'[^']*'", r"(?<!\S)#(?!!)[^\n]*", r"<<|\$'|[\"'`]")
_YAML = _Language(f"{_ESCAPED}|'(?:[^'\n]|'')*'", r"(?<!\S)#[^\n]*", r"[|>][-+\d]*[ \t]*(?=[\n#])|[\"']")
_TOML = _Language(rf'"""(?:\\.|[^\\])*?"""|\'\'\'.*?\'\'\'|{_ESCAPED}|(?!\'\'\')\'[^\'\n]*\'', r"#[^\n]*", r"[\"']")
_MARKUP = _Language(r"(?!)", r"<!--.*?-->", r"<!--|<!\[CDATA\[|<(?:script|style|pre|textarea)\b")

_LANGUAGES = {
    **dict.fromkeys(("python", "py"), _PYTHON),
    **dict.fromkeys(("c", "cpp", "c++", "java", "csharp", "cs", "kotlin", "swift"), _C),
    **dict.fromkeys(("javascript", "js", "typescript", "ts"), _JAVASCRIPT),
    **dict.fromkeys(("go", "golang"), _GO),
    **dict.fromkeys(("rust", "rs"), _RUST),
    **dict.fromkeys(("css", "scss", "less"), _CSS),
    "sql": _SQL,
    **dict.fromkeys(("bash", "sh", "shell", "zsh"), _SHELL),
    **dict.fromkeys(("yaml", "yml"), _YAML),
    "toml": _TOML,
    **dict.fromkeys(("html", "xml", "svg"), _MARKUP),
}
_REST_OF_LINE = re.compile(r"[ \t\r]*(?:\n|\Z)")
_DEEPEST_INDENT_CHARS = 200
_FACT = re.compile(r"\d|://|@")


def without_comments(code: str, info: str) -> str:
    """`code` of the language that the fence's `info` names; unchanged where that is unknown."""
    named = info.split(maxsplit=1)
    language = _LANGUAGES.get(named[0].lower()) if named else None
    if language is None:
        return code
    lexer = re.compile(
        f"(?P<string>{language.strings})|(?P<comment>{language.comments})|(?P<unknown>{language.unknown})",
        re.DOTALL,
    )
    kept: list[str] = []
    place = 0
    for found in lexer.finditer(code):
        if found["unknown"]:
            return code
        comment = found["comment"]
        lines = _lines_of(code, found) if comment and not _FACT.search(comment) else None
        if lines and lines[0] >= place:
            kept.append(code[place : lines[0]])
            place = lines[1]
    return "".join([*kept, code[place:]])


def _lines_of(code: str, found: re.Match[str]) -> Span | None:
    """The lines that the match has to itself, with the last one's end; None where it shares one."""
    before = code[max(0, found.start() - _DEEPEST_INDENT_CHARS) : found.start()]
    start = found.start() - (len(before) - len(before.rstrip(" \t")))
    rest = _REST_OF_LINE.match(code, found.end())
    return (start, rest.end()) if rest and (start == 0 or code[start - 1] == "\n") else None
