"""Many rows in one statement: a bind that holds JSON, seen by SQL as a table.

One text for any number of rows, so that the statement is compiled and planned once; both engines have their own
way to say it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import orjson

ColumnType = Literal["text", "bigint", "numeric", "boolean", "jsonb"]


def rows_as_table(columns: Mapping[str, ColumnType], *, on_sqlite: bool, alias: str = "v") -> str:
    """SQL for FROM that reads the bind `:rows`, made by `encode_rows`, as a table with these columns."""
    if on_sqlite:
        fields = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in columns)
        return f"(SELECT {fields} FROM json_each(:rows)) AS {alias}"  # noqa: S608 - names from our own code
    fields = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    return f"jsonb_to_recordset(CAST(:rows AS jsonb)) AS {alias}({fields})"


def sqlite_value(value: Any, kind: ColumnType) -> Any:  # noqa: ANN401 - a column's value
    """As SQLite stores it, for a statement that is run for each row by itself."""
    return orjson.dumps(value).decode() if kind == "jsonb" and value is not None else value


def encode_rows(rows: Sequence[Mapping[str, Any]]) -> str:
    return orjson.dumps(list(rows)).decode()
