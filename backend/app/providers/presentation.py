"""From providers as they are kept to what a client sees; no key passes through here."""

from collections.abc import Sequence

from app.errors import NotFound
from app.providers.health import Health
from app.providers.provider import HealthCheck, Provider
from app.providers.provider_model import LLMProvider
from app.providers.registry import ProviderRegistry
from app.providers.schemas import (
    BreakerOut,
    GateOut,
    HealthOut,
    LimitsOut,
    ModelForm,
    ProviderOut,
    ProviderStatusOut,
    SettingsProviderOut,
    SharesOut,
    TrafficOut,
    UnreadableProviderOut,
    WiredKind,
)
from app.providers.traffic import Traffic


def providers_out(rows: Sequence[LLMProvider]) -> tuple[list[ProviderOut], list[UnreadableProviderOut]]:
    """Those that can be shown, and those that cannot."""
    shown: list[ProviderOut] = []
    unreadable: list[UnreadableProviderOut] = []
    for row in rows:
        try:
            shown.append(_provider_out(row))
        except (ValueError, KeyError, TypeError):
            found = UnreadableProviderOut(id=row.id, name=row.name, version=row.version, reason=_reason(row))
            unreadable.append(found)
    return shown, unreadable


def provider_out(row: LLMProvider) -> ProviderOut:
    """Raises NotFound for one that this release cannot read."""
    shown, unreadable = providers_out([row])
    if unreadable:
        raise NotFound(f"This release cannot read this provider: {unreadable[0].reason}. Replace it, or delete it.")
    return shown[0]


def _reason(row: LLMProvider) -> str:
    """What of it is unknown here; the values are an admin's own, never a key."""
    for field, known, value in (("kind", WiredKind, row.kind), ("healthCheck", HealthCheck, row.health_check)):
        if value not in [str(member) for member in known]:
            return f"{field}: {value} is not known here"
    return "its form is not known here"


def _provider_out(row: LLMProvider) -> ProviderOut:
    return ProviderOut(
        id=row.id,
        name=row.name,
        kind=WiredKind(row.kind),
        base_url=row.base_url,
        has_key=row.sealed_key is not None,
        key_changed_at=row.key_changed_at,
        is_local=row.is_local,
        is_enabled=row.is_enabled,
        requests_per_minute=row.requests_per_minute,
        tokens_per_minute=row.tokens_per_minute,
        max_concurrency=row.max_concurrency,
        health_check=HealthCheck(row.health_check),
        models=[ModelForm.model_validate(model) for model in row.models],
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def settings_providers_out(registry: ProviderRegistry) -> list[SettingsProviderOut]:
    snapshot = registry.snapshot()
    return [
        SettingsProviderOut(
            name=name,
            kind=provider.kind,
            is_local=provider.is_local,
            has_key=provider.api_key is not None,
            is_replaced=snapshot.get(name) is not provider,
        )
        for name, provider in sorted(registry.from_settings.items())
    ]


def status_out(provider: Provider, health: Health, traffic: Traffic | None) -> ProviderStatusOut:
    return ProviderStatusOut(
        name=provider.name,
        kind=provider.kind,
        source=provider.source,
        is_enabled=provider.is_enabled,
        key=provider.key_state,
        health=_health_out(health),
        limits=LimitsOut.model_validate(provider),
        traffic=None if traffic is None else _traffic_out(traffic),
    )


def _health_out(health: Health) -> HealthOut:
    return HealthOut(
        state=health.state,
        last_checked_at=health.last_checked_at,
        failing_since=health.failing_since,
        latency_ms=_milliseconds(health.latency_seconds),
        latency_p50_ms=_milliseconds(health.latency_p50_seconds),
        last_error_code=health.last_error_code,
    )


def _traffic_out(traffic: Traffic) -> TrafficOut:
    return TrafficOut(
        gate=GateOut.model_validate(traffic.gate),
        shares=None if traffic.limits is None else SharesOut.model_validate(traffic.limits),
        breakers=[BreakerOut.model_validate(breaker) for breaker in traffic.breakers],
        in_flight=traffic.in_flight,
        waiting=traffic.waiting,
        latency_p50_ms=traffic.latency_p50_ms,
        last_error_code=traffic.last_error_code,
        last_error_at=traffic.last_error_at,
    )


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)
