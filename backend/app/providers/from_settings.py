"""What the settings make: the stub, the mock where it has fixtures, the vendors of the plan; and the key ring."""

from urllib.parse import urlsplit

from pydantic import SecretStr

from app.config import LLMSettings, Settings
from app.providers.addresses import AddressPolicy, host_key, literal_address
from app.providers.credentials.secret_keys import FileKeys, KeyRing, SettingsKeys
from app.providers.mock import MockFixtures
from app.providers.provider import HealthCheck, KeyState, Provider, ProviderKind, ProviderSource

STUB, MOCK = "stub", "mock"
# Names that the database cannot take: what they mean is fixed.
RESERVED = frozenset({STUB, MOCK, "task"})
_KINDS = {"openai": ProviderKind.OPENAI, "anthropic": ProviderKind.ANTHROPIC}


def providers_of(settings: LLMSettings) -> dict[str, Provider]:
    """By name. With the stub alone no vendor is among them, so nothing is ever asked. Raises StartRefused."""
    found = {STUB: Provider(STUB, ProviderKind.STUB, is_local=True, source=ProviderSource.SETTINGS)}
    if settings.mock_fixtures is not None:
        found[MOCK] = Provider(
            MOCK,
            ProviderKind.MOCK,
            is_local=True,
            source=ProviderSource.SETTINGS,
            fixtures=MockFixtures.load(settings.mock_fixtures),
        )
    if settings.provider == "litellm":
        in_plan = dict.fromkeys(_name_of(model) for model in settings.models)
        with_key = [name for name in _KINDS if _key_of(settings, name) is not None]
        for name in [*in_plan, *with_key]:
            if name not in found:
                found[name] = _vendor(settings, name, is_in_plan=name in in_plan)
    return found


def key_ring(settings: Settings, *, only_reads: bool = False) -> KeyRing:
    """Where the encryption keys of the credentials are."""
    keys = [key.get_secret_value() for key in settings.secret_keys]
    return SettingsKeys(keys) if keys else FileKeys(settings.data_dir, only_reads=only_reads)


def _vendor(settings: LLMSettings, name: str, *, is_in_plan: bool) -> Provider:
    kind = _KINDS.get(name, ProviderKind.LITELLM)
    base_url = settings.api_base if name == _name_of(settings.model) else None
    key = _key_of(settings, name)
    return Provider(
        name,
        kind,
        base_url=base_url,
        api_key=key,
        key_state=KeyState.NONE if key is None else KeyState.SET,
        is_local=base_url is not None and _is_own_machine(base_url, settings),
        health_check=_health_check(kind, name, base_url) if is_in_plan else HealthCheck.NONE,
        source=ProviderSource.SETTINGS,
    )


def _health_check(kind: ProviderKind, name: str, base_url: str | None) -> HealthCheck:
    if kind is not ProviderKind.LITELLM:
        return HealthCheck.MODELS
    is_ollama = name.startswith("ollama") and base_url is not None
    return HealthCheck.OLLAMA_TAGS if is_ollama else HealthCheck.NONE


def _is_own_machine(base_url: str, settings: LLMSettings) -> bool:
    """By its literal address or because the operator names it; no other name is taken to be ours."""
    host = urlsplit(base_url).hostname or ""
    literal = literal_address(host)
    if literal is not None:
        return literal.is_private
    return host_key(host) == "localhost" or AddressPolicy.of(settings.allowed_hosts).allows_host(host)


def _key_of(settings: LLMSettings, name: str) -> SecretStr | None:
    return {"openai": settings.openai_api_key, "anthropic": settings.anthropic_api_key}.get(name)


def _name_of(model: str) -> str:
    """As litellm reads it: a bare name is OpenAI's."""
    name, slash, _ = model.partition("/")
    return name if slash else "openai"
