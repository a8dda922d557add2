"""Comments: gone where they stand alone, and nothing else ever touched, in real code as in traps."""

import ast
import sysconfig
from pathlib import Path

import pytest

from app.context.code_comments import without_comments

LIBRARY = Path(sysconfig.get_path("stdlib"))
MODULES = ("argparse", "ast", "csv", "dataclasses", "difflib", "doctest", "inspect", "locale", "optparse", "tarfile")


@pytest.mark.parametrize("module", MODULES)
def test_real_code_means_the_same_without_its_comments(module: str) -> None:
    code = (LIBRARY / f"{module}.py").read_text()
    shorter = without_comments(code, "python")
    assert ast.dump(ast.parse(shorter)) == ast.dump(ast.parse(code))


def test_most_of_real_code_is_understood() -> None:
    codes = [(LIBRARY / f"{module}.py").read_text() for module in MODULES]
    assert sum(len(without_comments(code, "py")) < len(code) for code in codes) >= 8


@pytest.mark.parametrize(
    ("info", "code", "left"),
    [
        ("python", "# why\nx = 1\n    # and how\ny = 2\n", "x = 1\ny = 2\n"),
        ("js", "// why\nf();\n/* how\n * and when */\ng();", "f();\ng();"),
        ("ts", "const a = `b ${c} d`;\n// why\n", "const a = `b ${c} d`;\n"),
        ("java", "/** What it is for. */\nclass A {}\n", "class A {}\n"),
        ("go", "// A is new.\nvar a = `\n// b\n`\n", "var a = `\n// b\n`\n"),
        ("rust", "// why\nfn f<'a>(c: &'a str) -> char { '\"' }\n", "fn f<'a>(c: &'a str) -> char { '\"' }\n"),
        ("css", "/* red */\na { content: '/* b */'; }\n", "a { content: '/* b */'; }\n"),
        ("sql", "-- all\nSELECT 'it''s' -- here\n", "SELECT 'it''s' -- here\n"),
        ("bash title=x", "#!/bin/sh\n# why\nrm dir/*\n", "#!/bin/sh\nrm dir/*\n"),
        ("yaml", "# why\na: b\n", "a: b\n"),
        ("toml", "# why\na = 'C:\\'\n", "a = 'C:\\'\n"),
        ("html", "<!-- menu\n open -->\n<p>It's.</p>\n", "<p>It's.</p>\n"),
        ("Python", "# last", ""),
    ],
)
def test_a_comment_that_stands_alone_is_taken_out(info: str, code: str, left: str) -> None:
    assert without_comments(code, info) == left


@pytest.mark.parametrize(
    ("info", "code"),
    [
        ("python", 'x = """\n# no comment\n"""\n'),
        ("python", "x = '''\n# no comment\n"),  # the end is missing
        ("python", "x = 1  # beside code\n"),
        ("python", "# until 2027\n# see https://example.org\n# ask ann@example.org\n"),
        ("python", "it's\n# prose\n"),
        ("js", "a = `\n// no comment\n`"),
        ("js", "a = `${b(`\n// no comment\n`)}`"),
        ("js", "a = /\"/;\n// perhaps\n"),
        ("js", "/* never closed\n"),
        ("js", "f(); /* beside */\n"),
        ("c", "R\"(\n// no comment\n)\""),
        ("cs", "@\"\n// no comment\n\""),
        ("java", 'a = """\n// no comment\n""";'),
        ("swift", "/* a /* b */\n c */\n"),
        ("rust", "r#\"\n// no comment\n\"#"),
        ("sql", "$$\n-- no comment\n$$"),
        ("sql", "SELECT '\n-- no comment\n'"),
        ("bash", "cat <<END\n# no comment\nEND\n"),
        ("bash", "echo \"\n# no comment\n\""),
        ("bash", "echo $'it\\'s\n# no comment\n'"),
        ("yaml", "a: |\n  # no comment\n"),
        ("yaml", "a: >- # folded\n  # no comment\n"),
        ("yaml", 'a: "\n  # no comment"\n'),
        ("toml", "a = '''\\'''\n# beside\nb = '''\n# no comment'''\n".replace("# beside\n", "")),
        ("html", "<script>\n<!-- x -->\n</script>"),
        ("text", "# a heading\n"),
        ("", "# a heading\n"),
    ],
)  # fmt: skip
def test_what_may_be_no_comment_stays(info: str, code: str) -> None:
    assert without_comments(code, info) == code


def test_hostile_code_is_given_up_quickly() -> None:
    for code in ("/*" * 100_000, '"' * 100_001, "'''" + "x" * 200_000, "`${" * 60_000, "/* */" * 40_000):
        for info in ("js", "python", "rust", "sql", "html", "toml"):
            assert without_comments(code, info) == code
