"""Settings, read once in `main` from the environment and `.env`, and handed in from there.

Every setting is named LITEVAULT_*; the vendors' keys keep their own well-known names. `.env.example` lists
each with its default, its unit and one line, and a test compares the two.
"""

import base64
import re
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict, SettingsError
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from app.errors import SettingsRefused, llm_errors

_BACKEND = Path(__file__).resolve().parents[1]
_CHECKOUT = _BACKEND.parent if (_BACKEND.parent / "pyproject.toml").is_file() else None
# The later one wins. Without a checkout it is the one where the program is started.
ENV_FILES = (_CHECKOUT / ".env", _BACKEND / ".env") if _CHECKOUT else (Path(".env"),)
_DEFAULT_DATA_DIR = _CHECKOUT / "data" if _CHECKOUT else Path.home() / ".local" / "share" / "litevault"


def _split_commas(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _without_tilde(path: Path | None) -> Path | None:
    return path and path.expanduser()


def _in_lower_case(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


def _expanded(path: Path | None) -> Path | None:
    return None if path is None else path.expanduser()


_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")
_APPRISE_URL = re.compile(r"[A-Za-z][A-Za-z0-9]*://.")
_URL_FORMS = "must be sqlite:///path or postgresql://user:password@host:port/database, special characters as %XX"
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_POSTGRES_OPTIONS = frozenset({"host", "port", "ssl", "passfile", "target_session_attrs"})

Form = TypeVar("Form", bound=BaseSettings)
CommaSeparated = Annotated[list[str], NoDecode, BeforeValidator(_split_commas)]
Days = Annotated[int, Field(ge=0, le=36_500)]
SecretsByComma = Annotated[list[SecretStr], NoDecode, BeforeValidator(_split_commas)]


class Environment(StrEnum):
    DEVELOPMENT = "development"
    PRODUCTION = "production"


def _source(prefix: str) -> SettingsConfigDict:
    return SettingsConfigDict(
        env_prefix=prefix,
        env_file=ENV_FILES,
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        populate_by_name=True,
        hide_input_in_errors=True,
        validate_default=True,
        str_strip_whitespace=True,
    )


class LLMSettings(BaseSettings):
    """LITEVAULT_LLM_*: which model enriches, how patiently, and how many at a time."""

    model_config = _source("LITEVAULT_LLM_")

    enabled: bool = True
    disabled_mode: Literal["wait", "stub"] = "wait"
    provider: Literal["stub", "litellm"] = "stub"
    model: Annotated[str, Field(min_length=1)] = "openai/gpt-4o-mini"
    fallback_models: CommaSeparated = []
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.3
    max_tokens: Annotated[int, Field(ge=64, le=200_000)] = 1024
    timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 30
    max_retries: Annotated[int, Field(ge=0, le=10)] = 2
    concurrency: Annotated[int, Field(ge=1, le=1000)] = 3
    structured_mode: Literal["auto", "tools", "json_schema", "md_json"] = "auto"
    # Addresses may hold a password.
    api_base: Annotated[str | None, Field(repr=False)] = None
    allowed_hosts: CommaSeparated = []
    health_seconds: Annotated[float, Field(ge=1, le=3600)] = 60
    mock_fixtures: Annotated[Path | None, AfterValidator(_expanded)] = None
    openai_api_key: Annotated[SecretStr | None, Field(validation_alias=AliasChoices("OPENAI_API_KEY"))] = None
    anthropic_api_key: Annotated[SecretStr | None, Field(validation_alias=AliasChoices("ANTHROPIC_API_KEY"))] = None
    circuit_faults: Annotated[int, Field(ge=1, le=1000)] = 5
    compress: bool = True
    routing_file: Annotated[Path | None, AfterValidator(_without_tilde)] = None
    stub_delay_seconds: Annotated[float, Field(ge=0, le=3600)] = 0
    stub_failure: str | None = None
    stub_failure_rate: Annotated[float, Field(ge=0, le=1)] = 1

    @field_validator("stub_failure")
    @classmethod
    def _known_failure(cls, code: str | None) -> str | None:
        if code is not None and code not in llm_errors():
            raise ValueError(f"must be one of {', '.join(sorted(llm_errors()))}")
        return code

    @field_validator("api_base")
    @classmethod
    def _web_address(cls, address: str | None) -> str | None:
        if address is not None and not address.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return address

    @field_validator("allowed_hosts")
    @classmethod
    def _hosts(cls, entries: list[str]) -> list[str]:
        for entry in entries:
            if not _HOST.fullmatch(entry) and not _is_network(entry):
                raise ValueError("must be host names, addresses or networks such as 10.0.0.0/8, separated by commas")
        return entries

    @property
    def models(self) -> list[str]:
        """The plan: the model, then its fallbacks, each once."""
        return list(dict.fromkeys([self.model, *self.fallback_models]))


class Settings(BaseSettings):
    """LITEVAULT_*: the server, its database, its worker."""

    model_config = _source("LITEVAULT_")

    environment: Environment = Environment.DEVELOPMENT
    dev_auth: bool | None = None
    dev_role: Annotated[Literal["user", "operator", "admin"], BeforeValidator(_in_lower_case)] = "admin"
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    cors_origins: CommaSeparated = ["http://localhost:3000"]
    max_body_bytes: Annotated[int, Field(ge=1024)] = 1_048_576
    database_url: Annotated[str | None, Field(repr=False)] = None
    secret_keys: SecretsByComma = []
    alert_urls: SecretsByComma = []
    data_dir: Annotated[Path, AfterValidator(Path.expanduser)] = _DEFAULT_DATA_DIR
    prompts_dir: Annotated[Path | None, AfterValidator(_expanded)] = None
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_in_lower_case)] = "info"
    log_format: Literal["console", "json"] = "console"
    items_per_day: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    queries_per_day: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    queries_at_once: Annotated[int, Field(ge=0, le=10_000)] = 0
    keep_idempotency_keys_days: Days = 2
    keep_discarded_items_days: Days = 0
    keep_history_days: Days = 0
    keep_ledger_days: Days = 0
    keep_queries_days: Days = 0
    worker_enabled: bool = True
    worker_lease_seconds: Annotated[float, Field(ge=1, le=3600)] = 30
    worker_drain_seconds: Annotated[float, Field(ge=0, le=600)] = 20
    worker_poll_seconds: Annotated[float, Field(gt=0, le=3600)] = 5
    worker_max_attempts: Annotated[int, Field(ge=1, le=100)] = 5
    worker_backoff_seconds: Annotated[float, Field(ge=0, le=3600)] = 1
    worker_backoff_max_seconds: Annotated[float, Field(ge=0, le=86_400)] = 60
    query_timeout_seconds: Annotated[float, Field(gt=0, le=3600)] = 120
    query_concurrency: Annotated[int, Field(ge=1, le=1000)] = 100
    llm: Annotated[LLMSettings, Field(default_factory=LLMSettings)]

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, url: str | None) -> str | None:
        return None if url is None else _driver_url(url)

    @field_validator("secret_keys")
    @classmethod
    def _fernet_keys(cls, keys: list[SecretStr]) -> list[SecretStr]:
        if not all(is_secret_key(key.get_secret_value()) for key in keys):
            raise ValueError("must be keys as `litevault credentials new-key` makes them, separated by commas")
        return keys

    @field_validator("alert_urls")
    @classmethod
    def _addresses_of_apprise(cls, urls: list[SecretStr]) -> list[SecretStr]:
        if not all(_APPRISE_URL.match(url.get_secret_value()) for url in urls):
            raise ValueError("must be addresses as mailto://… or json://…, separated by commas")
        return urls

    @model_validator(mode="after")
    def _no_development_identity_in_production(self) -> "Settings":
        if self.environment is Environment.PRODUCTION and self.dev_auth:
            raise ValueError("LITEVAULT_DEV_AUTH must be off when LITEVAULT_ENVIRONMENT is production")
        return self

    @property
    def dev_auth_allowed(self) -> bool:
        """X-Dev-User-Id is taken; by default so in development, never in production."""
        return self.environment is Environment.DEVELOPMENT if self.dev_auth is None else self.dev_auth

    @property
    def resolved_database_url(self) -> str:
        return self.database_url or f"sqlite+aiosqlite:///{self.data_dir.absolute() / 'litevault.db'}"


def load_settings(**overrides: Any) -> Settings:  # noqa: ANN401 - the fields' own types check the values
    """The settings of this process. Raises SettingsRefused naming each bad variable and what is wrong with it."""
    complaints: list[str] = []
    llm = _read(LLMSettings, complaints)
    settings = _read(Settings, complaints, llm=llm or LLMSettings.model_construct(), **overrides)
    if llm is None or settings is None:
        raise SettingsRefused(list(dict.fromkeys(complaints)))
    return settings


def variable_of(form: type[BaseSettings], field: str) -> str:
    """The variable that sets the field."""
    alias = form.model_fields[field].validation_alias
    if isinstance(alias, AliasChoices):
        return str(alias.choices[0])
    return f"{form.model_config['env_prefix']}{field.upper()}"


def _read(form: type[Form], complaints: list[str], **values: Any) -> Form | None:  # noqa: ANN401 - see above
    """None when something is wrong, which is then among the complaints."""
    try:
        return form(**values)
    except ValidationError as error:
        complaints += [_complaint(form, entry) for entry in error.errors(include_input=False, include_url=False)]
    except SettingsError:
        complaints.append("LITEVAULT_LLM: is no setting; those of the model begin with LITEVAULT_LLM_")
    except (OSError, UnicodeDecodeError):
        complaints.append(f"{' or '.join(map(str, ENV_FILES))} cannot be read: give it the right to, in UTF-8")
    return None


def _complaint(form: type[BaseSettings], entry: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    sentence = str(entry["msg"]).removeprefix("Value error, ")
    if not entry["loc"]:
        return sentence
    field = str(entry["loc"][0])
    return f"{variable_of(form, field) if field in form.model_fields else field}: {sentence}"


def _is_network(text: str) -> bool:
    try:
        ip_network(text)
    except ValueError:
        return False
    return True


def is_secret_key(text: str) -> bool:
    """32 bytes in URL-safe base64."""
    try:
        return len(base64.urlsafe_b64decode(text.encode("ascii"))) == 32
    except ValueError:
        return False


def _driver_url(written: str) -> str:
    """The URL for our drivers. Raises ValueError, which never repeats it: it may hold a password."""
    try:
        url = make_url(written)
    except (ArgumentError, ValueError):
        raise ValueError(_URL_FORMS) from None
    if url.drivername in ("sqlite", "sqlite+aiosqlite"):
        if url.host or url.query or not url.database or url.database == ":memory:":
            raise ValueError("must name a file: sqlite:///relative/path or sqlite:////absolute/path")
        path = str(Path(url.database).absolute())
        return url.set(drivername="sqlite+aiosqlite", database=path).render_as_string(hide_password=False)
    if url.drivername in ("postgres", "postgresql", "postgresql+asyncpg"):
        return _for_asyncpg(url).render_as_string(hide_password=False)
    raise ValueError(_URL_FORMS)


def _for_asyncpg(url: URL) -> URL:
    """Hosters write libpq's options into their URLs; asyncpg has another name for one and fails at the others."""
    query = dict(url.query)
    if "sslmode" in query:
        query.setdefault("ssl", query.pop("sslmode"))
    if query.get("ssl", "prefer") not in _SSL_MODES:
        raise ValueError(f"sslmode must be one of {', '.join(_SSL_MODES)}")
    unknown = sorted(query.keys() - _POSTGRES_OPTIONS)
    if unknown:
        raise ValueError(f"takes no option {', '.join(unknown)}: remove it from the URL")
    return url.set(drivername="postgresql+asyncpg", query=query)
