"""Whether calls would find a model: each provider, each model of the routing, each task.

Providers are asked for their list of models alone, which costs nothing; what is in the database is read, not changed.
"""

import asyncio
from collections.abc import Iterable, Mapping

from app.cli.finding import Finding
from app.cli.migration import revision_of
from app.config import Settings
from app.database import Database
from app.errors import LLMDisabled, LLMError, ServiceUnavailable, StartRefused
from app.llm.call import Call, Spender
from app.llm.extraction import ModelFacts
from app.llm.gateway import build_gateway
from app.llm.routing import Plan
from app.migrations import newest_revision
from app.providers.access import ProviderAccess, build_access
from app.providers.health import is_watched
from app.providers.outbound import ConnectionGuard
from app.providers.probe import HttpProbe, Sign
from app.providers.provider import KeyState, Provider, ProviderSource

_REFUSES_THE_KEY = frozenset({"http_401", "http_403"})


async def examine_routing(settings: Settings) -> list[Finding]:
    """The providers, the models that the routing names beside those of the settings, the tasks."""
    database = Database(settings.resolved_database_url)
    access = build_access(settings, database, only_reads=True)
    await _read_providers(access, database, settings)
    try:
        gateway = build_gateway(settings.llm, access)
    except StartRefused as refusal:
        return [Finding("routing", str(refusal), is_well=False)]
    providers = access.registry.snapshot().values()
    signs = await _look_at(settings, providers)
    findings = [_examine_provider(found, signs.get(found.name)) for found in providers if found.kind.has_wire]
    try:
        plans = {task: await gateway.plan(_call_of(task)) for task in gateway.tasks}
    except LLMDisabled:
        return findings  # the line of the switch says it
    except LLMError as fault:
        return [*findings, Finding("tasks", f"have no plan now: {fault.explain()}", is_well=None)]
    finally:
        await gateway.close()
    findings += _examine_models(plans, settings.llm.models)
    return findings + _examine_tasks(plans, {name for name, sign in signs.items() if _is_of_no_use(sign)})


async def _read_providers(access: ProviderAccess, database: Database, settings: Settings) -> None:
    """Of a database that is not there or not migrated, none: its own lines say so."""
    try:
        if await revision_of(settings.resolved_database_url) != newest_revision():
            return
        await database.start()
    except StartRefused:
        return
    try:
        await access.registry.refresh()
    except ServiceUnavailable:
        return
    finally:
        await database.close()


async def _look_at(settings: Settings, providers: Iterable[Provider]) -> dict[str, Sign]:
    watched = [found for found in providers if is_watched(found)]
    probe = HttpProbe(ConnectionGuard.of(settings.llm))
    try:
        signs = await asyncio.gather(*(probe.ask(found) for found in watched))
    finally:
        await probe.close()
    return {found.name: sign for found, sign in zip(watched, signs, strict=True)}


def _is_of_no_use(sign: Sign) -> bool:
    return not sign.is_alive or sign.error_code in _REFUSES_THE_KEY


def _examine_provider(provider: Provider, sign: Sign | None) -> Finding:
    name = provider.name
    if not provider.is_enabled:
        return Finding("provider", f"{name}: is switched off", is_well=None)
    if provider.key_state is KeyState.UNREADABLE:
        mend = "restore secret.keys or LITEVAULT_SECRET_KEYS, or set its key anew"
        return Finding("provider", f"{name}: its key cannot be read: {mend}", is_well=False)
    if sign is None:
        return Finding("provider", f"{name}: is not asked for a list of models", is_well=None)
    return _examine_sign(provider, sign)


def _examine_sign(provider: Provider, sign: Sign) -> Finding:
    name = provider.name
    if sign.error_code is None:
        key = ", the key is accepted" if provider.key_state is KeyState.SET else ""
        return Finding("provider", f"{name}: gave its list of models in {sign.seconds:.1f} s{key}")
    if sign.error_code in _REFUSES_THE_KEY:
        where = "in the settings" if provider.source is ProviderSource.SETTINGS else "by /api/v1/llm/providers"
        return Finding("provider", f"{name}: refuses the key ({sign.error_code}): correct it {where}", is_well=False)
    if not sign.is_alive:
        sentence = f"{name}: cannot be reached ({sign.error_code}): see whether it runs, and its address"
        return Finding("provider", sentence, is_well=False)
    return Finding("provider", f"{name}: is there, and has no list of models ({sign.error_code})", is_well=None)


def _examine_models(plans: Mapping[str, Plan], of_the_settings: Iterable[str]) -> list[Finding]:
    """Those of the settings have lines of their own."""
    findings: dict[str, Finding] = {}
    for task, plan in plans.items():
        for candidate in plan.candidates:
            if candidate.provider.kind.has_wire:
                is_own = candidate.provider.is_local
                findings.setdefault(candidate.name, _told(candidate.name, candidate.facts, is_own=is_own))
        for left in plan.left_out:
            sentence = f"{left.name}: {left.reason}; task {task} names it"
            findings.setdefault(left.name, Finding("model", sentence, is_well=False))
    return [finding for name, finding in findings.items() if name not in set(of_the_settings)]


def _told(name: str, facts: ModelFacts, *, is_own: bool) -> Finding:
    if None not in (facts.input_price_usd, facts.output_price_usd):
        return Finding("model", f"{name}: known, with a price")
    if is_own:
        return Finding("model", f"{name}: on a machine of one's own, without a price")
    mend = "set its prices at its provider, or no budget can hold it and its costs stay unknown"
    return Finding("model", f"{name}: has no price: {mend}", is_well=None)


def _examine_tasks(plans: Mapping[str, Plan], useless: set[str]) -> list[Finding]:
    """`useless`: providers that nobody reaches, or that refuse us."""
    well: list[str] = []
    findings = []
    for task, plan in plans.items():
        if any(candidate.provider.name not in useless for candidate in plan.candidates):
            well.append(task)
        else:
            names = [candidate.name for candidate in plan.candidates] + [left.name for left in plan.left_out]
            sentence = f"{task}: none of its models can be asked ({', '.join(names)}): see the lines above"
            findings.append(Finding("task", sentence, is_well=False))
    if well:
        findings.append(Finding("tasks", f"{', '.join(well)}: a model can be asked"))
    return findings


def _call_of(task: str) -> Call:
    return Call(
        task=task,
        prompt=({"role": "user", "content": "?"},),
        spender=Spender(user_id="", lane="check"),
        deadline_seconds=1,
    )
