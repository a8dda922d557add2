"""How private a text is: a person's default, each item, each call to a model, all in the same words.

It stands this low because everything that holds a text imports it; what it forbids is enforced in `llm/routing.py`.
"""

from enum import StrEnum


class Privacy(StrEnum):
    """Whom a text may be shown to: any provider, those on machines of one's own, or nobody."""

    ANY = "any"
    LOCAL_ONLY = "local_only"
    NONE = "none"


def values_in_sql() -> str:
    return ", ".join(f"'{privacy}'" for privacy in Privacy)
