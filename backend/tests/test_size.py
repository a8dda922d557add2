"""Small files, short functions: ruff does not count them. These are the outer limits; aim at half of them."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = [ROOT / "backend" / "app", ROOT / "backend" / "tests", ROOT / "benchmarks"]
FILES = sorted(file for folder in FOLDERS for file in folder.rglob("*.py"))

FILE_LINES = 400
FUNCTION_LINES = 60


def name_of(file: Path) -> str:
    return str(file.relative_to(ROOT))


def length_of(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from the name on: decorators, which declare routes and options, do not count."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_file_and_functions_are_short(file: Path) -> None:
    source = file.read_text()
    assert len(source.splitlines()) <= FILE_LINES
    functions = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    too_long = {node.name: length_of(node) for node in functions if length_of(node) > FUNCTION_LINES}
    assert not too_long
