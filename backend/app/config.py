"""Settings, read once in `main` from the environment and `.env`, and handed in from there.

Every setting is named LITEVAULT_*; the vendors' keys keep their own well-known names. `.env.example` lists
each with its default, its unit and one line, and a test compares the two.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BeforeValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.errors import StartRefused, llm_errors

_BACKEND = Path(__file__).resolve().parents[1]
_CHECKOUT = _BACKEND.parent if (_BACKEND.parent / "pyproject.toml").is_file() else None
_ENV_FILES = tuple(str(folder / ".env") for folder in (_CHECKOUT, _BACKEND) if folder and _CHECKOUT) or (".env",)
_DEFAULT_DATA_DIR = _CHECKOUT / "data" if _CHECKOUT else Path.home() / ".local" / "share" / "litevault"


def _split_commas(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


CommaSeparated = Annotated[list[str], NoDecode, BeforeValidator(_split_commas)]


class Environment(StrEnum):
    DEVELOPMENT = "development"
    PRODUCTION = "production"


def _source(prefix: str) -> SettingsConfigDict:
    return SettingsConfigDict(
        env_prefix=prefix,
        env_file=_ENV_FILES,
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        extra="ignore",
        populate_by_name=True,
        hide_input_in_errors=True,
        validate_default=True,
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
    api_base: str | None = None
    openai_api_key: Annotated[SecretStr | None, Field(validation_alias=AliasChoices("OPENAI_API_KEY"))] = None
    anthropic_api_key: Annotated[SecretStr | None, Field(validation_alias=AliasChoices("ANTHROPIC_API_KEY"))] = None
    stub_delay_seconds: Annotated[float, Field(ge=0, le=3600)] = 0
    stub_failure: str | None = None
    stub_failure_rate: Annotated[float, Field(ge=0, le=1)] = 1

    @field_validator("stub_failure")
    @classmethod
    def _known_failure(cls, code: str | None) -> str | None:
        if code is not None and code not in llm_errors():
            raise ValueError(f"must be one of {', '.join(sorted(llm_errors()))}")
        return code

    @property
    def models(self) -> list[str]:
        """The plan: the model, then its fallbacks, each once."""
        return list(dict.fromkeys([self.model, *self.fallback_models]))


class Settings(BaseSettings):
    """LITEVAULT_*: the server, its database, its worker."""

    model_config = _source("LITEVAULT_")

    environment: Environment = Environment.DEVELOPMENT
    dev_auth: bool | None = None
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    cors_origins: CommaSeparated = ["http://localhost:3000"]
    max_body_bytes: Annotated[int, Field(ge=1024)] = 1_048_576
    database_url: str | None = None
    data_dir: Path = _DEFAULT_DATA_DIR
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"
    worker_enabled: bool = True
    worker_lease_seconds: Annotated[float, Field(ge=1, le=3600)] = 30
    worker_drain_seconds: Annotated[float, Field(ge=0, le=600)] = 20
    worker_poll_seconds: Annotated[float, Field(gt=0, le=3600)] = 5
    worker_max_attempts: Annotated[int, Field(ge=1, le=100)] = 5
    worker_backoff_seconds: Annotated[float, Field(ge=0, le=3600)] = 1
    worker_backoff_max_seconds: Annotated[float, Field(ge=0, le=86_400)] = 60
    llm: Annotated[LLMSettings, Field(default_factory=LLMSettings)]

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, url: str | None) -> str | None:
        if url is None or url.startswith(("sqlite+aiosqlite:///", "postgresql+asyncpg://")):
            return url
        if url.startswith(("postgres://", "postgresql://")):
            return "postgresql+asyncpg://" + url.split("://", 1)[1]
        if url.startswith("sqlite:///"):
            return "sqlite+aiosqlite:///" + url.removeprefix("sqlite:///")
        raise ValueError("must begin with sqlite:/// or postgresql://")

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
    """The settings of this process. Raises StartRefused naming each bad variable and what is wrong with it."""
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise StartRefused("; ".join(_complaint(error.title, entry) for entry in error.errors())) from None


def _complaint(title: str, entry: Any) -> str:  # noqa: ANN401 - pydantic's ErrorDetails
    prefix = "LITEVAULT_LLM_" if title == LLMSettings.__name__ else "LITEVAULT_"
    where = [str(part) for part in entry["loc"]]
    if not where:
        return str(entry["msg"])
    name = where[0] if where[0].isupper() else prefix + where[0].upper()
    return f"{name}: {entry['msg']}"
