"""A person's profile and preferences on the wire."""

import re
import zoneinfo
from functools import cache
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StrictBool

from app.accounts.privacy import Privacy
from app.web import Text, WireModel, WireTime

# The form of RFC 5646, without its list of languages: that grows, and would have to be kept.
_LANGUAGE = re.compile(
    r"^[a-zA-Z]{2,3}(-[a-zA-Z]{4})?(-([a-zA-Z]{2}|[0-9]{3}))?"
    r"(-([a-zA-Z0-9]{5,8}|[0-9][a-zA-Z0-9]{3}))*(-[a-wyzA-WYZ0-9](-[a-zA-Z0-9]{2,8})+)*$"
)


def _is_language(tag: str) -> str:
    if not _LANGUAGE.fullmatch(tag):
        raise ValueError("must be a language tag like de or pt-BR")
    return tag


_LANGUAGE_IN_SCHEMA = Field(
    max_length=35,
    description="As in BCP 47: de, pt-BR, zh-Hant-TW.",
    json_schema_extra={"pattern": _LANGUAGE.pattern},
)


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _is_zone(name: str) -> str:
    if name not in _zones():
        raise ValueError("must be the name of a time zone, like Europe/Berlin")
    return name


_ZONES_IN_SCHEMA = Field(json_schema_extra=lambda schema: schema.update(enum=[*sorted(_zones())]))


def _is_web_address(url: str) -> str:
    """Or blank, which takes the address away."""
    complaint = "must be a complete http or https address"
    if not url.strip():
        return url
    if not url.isprintable() or " " in url:
        raise ValueError(complaint)
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(complaint) from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc:
        raise ValueError(complaint)
    return url


_ADDRESS_IN_SCHEMA = Field(max_length=2000, json_schema_extra={"anyOf": [{"format": "uri"}, {"pattern": r"^\s*$"}]})


class PreferencesOut(WireModel):
    default_language: str
    timezone: str
    ai_suggestions_enabled: bool
    default_privacy: Privacy


class ProfileOut(WireModel):
    id: str
    email: str | None
    display_name: str | None
    nickname: str | None
    avatar_url: str | None
    bio: str | None
    preferences: PreferencesOut
    plan: str
    created_at: WireTime
    updated_at: WireTime


class ProfilePatch(WireModel):
    """A field left out stays as it is; null, or a text that is blank, takes it away."""

    display_name: Annotated[Text, Field(max_length=100)] | None = None
    nickname: Annotated[Text, Field(max_length=50)] | None = None
    avatar_url: Annotated[Text, _ADDRESS_IN_SCHEMA, AfterValidator(_is_web_address)] | None = None
    bio: Annotated[Text, Field(max_length=500)] | None = None


class PreferencesPatch(WireModel):
    """A field left out, or null, stays as it is.

    While `aiSuggestionsEnabled` is false, a text that is captured without saying `enrich` goes to no model.
    `defaultPrivacy` is of texts that are captured, and of questions, without saying `privacy`; those that are there
    keep theirs.
    """

    default_language: Annotated[str, _LANGUAGE_IN_SCHEMA, AfterValidator(_is_language)] | None = None
    timezone: Annotated[Text, Field(max_length=64), AfterValidator(_is_zone), _ZONES_IN_SCHEMA] | None = None
    ai_suggestions_enabled: StrictBool | None = None
    default_privacy: Privacy | None = None
