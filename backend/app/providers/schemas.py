"""Providers on the wire. A key goes in and never comes out; prices are exact decimal strings, USD a token."""

from enum import StrEnum
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, SecretStr, StrictBool

from app.providers.provider import HealthCheck, KeyState, ProviderKind, ProviderSource
from app.web import WireModel, WireTime

_LARGEST = 2_147_483_647
_KEY = r"^[!-~]+$"
# A misspelt `apiKey` would be a provider without a key.
_NOTHING_ELSE = ConfigDict(extra="forbid")


class WiredKind(StrEnum):
    """The kinds that can be registered: those with a wire."""

    OPENAI = ProviderKind.OPENAI.value
    ANTHROPIC = ProviderKind.ANTHROPIC.value
    OPENAI_COMPATIBLE = ProviderKind.OPENAI_COMPATIBLE.value


def _number(value: object) -> object:
    """Not strict: 5.0 is a whole number in JSON. A text or a truth value is none."""
    if isinstance(value, str | bool):
        raise ValueError("must be a whole number")  # noqa: TRY004 - pydantic takes no TypeError
    return value


def _fits_a_header(key: SecretStr) -> SecretStr:
    if not all("!" <= character <= "~" for character in key.get_secret_value()):
        raise ValueError("must be of printable ASCII characters without spaces")
    return key


_Whole = Annotated[int, Field(ge=1, le=_LARGEST)]
Count = Annotated[_Whole, BeforeValidator(_number, json_schema_input_type=_Whole)]
# As many decimals as the books keep.
Price = Annotated[str, Field(pattern=r"^[0-9]{1,6}(\.[0-9]{1,12})?$", examples=["0.00000015"])]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,49}$", description="The first part of provider/model.")]
Key = Annotated[
    SecretStr,
    Field(min_length=1, max_length=1000, json_schema_extra={"pattern": _KEY}),
    AfterValidator(_fits_a_header),
]


class ModelForm(WireModel):
    """What is known better here than in the price list; null: ask there."""

    model_config = _NOTHING_ELSE

    # The length apart: as a repetition in the pattern it takes the server 16 ms to compile, five times at each start.
    name: Annotated[str, Field(pattern=r"^[!-~]+$", min_length=1, max_length=200)]
    context_window: Count | None = None
    max_output_tokens: Count | None = None
    input_price_usd: Price | None = None
    output_price_usd: Price | None = None


class ProviderForm(WireModel):
    """`baseUrl` null is the vendor's own address; a limit of null is none."""

    name: Name
    kind: WiredKind
    base_url: Annotated[str | None, Field(max_length=500)] = None
    is_local: StrictBool = False
    is_enabled: StrictBool = True
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    max_concurrency: Count | None = None
    health_check: HealthCheck = HealthCheck.MODELS
    models: Annotated[list[ModelForm], Field(max_length=200, default_factory=list)]


class ProviderCreate(ProviderForm):
    model_config = _NOTHING_ELSE
    api_key: Annotated[Key | None, Field(description="Stored sealed, and never shown again.")] = None


class ProviderReplace(ProviderForm):
    """All of it anew, but for the key: left out it stays, null takes it away."""

    model_config = _NOTHING_ELSE

    version: Annotated[Count, Field(description="Of the provider as it was read.")]
    api_key: Key | None = None

    @property
    def says_key(self) -> bool:
        return "api_key" in self.model_fields_set


class ProviderOut(ProviderForm):
    id: str
    has_key: bool
    key_changed_at: WireTime | None
    version: int
    created_at: WireTime
    updated_at: WireTime


class SettingsProviderOut(WireModel):
    """A provider from the settings; `isReplaced` while one in the database has its name."""

    name: str
    kind: ProviderKind
    is_local: bool
    has_key: bool
    is_replaced: bool


class Pagination(WireModel):
    cursor: str | None
    has_more: bool


class UnreadableProviderOut(WireModel):
    """Stored in a form that this release does not know, as by a newer one: no calls go there. PUT or DELETE it."""

    id: str
    name: str
    version: int
    reason: str


class ProvidersOut(WireModel):
    """`unreadable` are those of this page that cannot be shown as `providers`."""

    providers: list[ProviderOut]
    unreadable: list[UnreadableProviderOut]
    from_settings: list[SettingsProviderOut]
    pagination: Pagination


class HealthState(StrEnum):
    """FAILING: the last check failed; DOWN: so many in a row that calls no longer go there."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    FAILING = "failing"
    DOWN = "down"


class HealthOut(WireModel):
    """What this process saw; `lastErrorCode` says how the last failed check failed, or which status refused us."""

    state: HealthState
    last_checked_at: WireTime | None
    failing_since: WireTime | None
    latency_ms: float | None
    latency_p50_ms: float | None
    last_error_code: str | None


class GateOut(WireModel):
    """Closed while the whole provider refuses us: a rejected key, a spent quota; for all processes while `isShared`."""

    is_open: bool
    code: str | None
    seconds_until_open: float
    is_shared: bool


class SharesOut(WireModel):
    """What this process holds now of the limits a minute, which `processes` use; null: no limit.

    Not `isShared`: the database is away, and this process keeps to the whole limits by itself.
    """

    is_shared: bool
    requests_held: int | None
    tokens_held: int | None
    processes: int


class BreakerOut(WireModel):
    model: str
    state: str
    seconds_until_probe: float


class TrafficOut(WireModel):
    """What the calls of this process met."""

    gate: GateOut
    shares: SharesOut | None
    breakers: list[BreakerOut]
    in_flight: int | None
    waiting: int | None
    latency_p50_ms: float | None
    last_error_code: str | None
    last_error_at: WireTime | None


class LimitsOut(WireModel):
    requests_per_minute: int | None
    tokens_per_minute: int | None
    max_concurrency: int | None


class ProviderStatusOut(WireModel):
    """Of this process; another one may see it otherwise for a while."""

    name: str
    kind: ProviderKind
    source: ProviderSource
    is_enabled: bool
    key: KeyState
    health: HealthOut
    limits: LimitsOut
    traffic: TrafficOut | None
