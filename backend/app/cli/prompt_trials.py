"""`litevault prompts test`: runs the cases beside the templates, with their stub answers or the configured model."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

import typer
from pydantic import BaseModel, create_model

from app.cli.prompts import find, open_prompts
from app.config import LLMSettings, load_settings
from app.errors import LLMError, PromptRefused, StartRefused
from app.llm.call import Call, Parameters, Spender
from app.llm.extraction import provider_of
from app.llm.gateway import Gateway, build_gateway
from app.prompts.cases import complaints_about_answer, complaints_about_messages
from app.prompts.prompt_version import PromptVersion, content_of
from app.prompts.registry import PromptRegistry
from app.prompts.template import Case


class _FreeAnswer(BaseModel):
    answer: str


@dataclass(frozen=True, slots=True)
class Trial:
    """How a case ended: nothing in `complaints` is well."""

    prompt: str
    case: str
    complaints: list[str]


def try_and_tell(prompt_ids: Sequence[str], *, live: bool, as_json: bool) -> int:
    """The exit code: 1 when a case failed. Raises StartRefused."""
    settings = load_settings()
    registry = open_prompts(settings)
    for id_ in prompt_ids:
        find(registry, id_)
    if live and settings.llm.provider == "stub":
        raise StartRefused("--live asks a model: set LITEVAULT_LLM_PROVIDER=litellm and LITEVAULT_LLM_MODEL")
    trials = asyncio.run(_run(registry, prompt_ids, settings.llm if live else None))
    failed = [trial for trial in trials if trial.complaints]
    if as_json:
        found = {"ok": not failed, "trials": [asdict(trial) for trial in trials]}
        typer.echo(json.dumps(found, ensure_ascii=False, indent=2))
    else:
        for trial in failed:
            typer.echo(f"\u2717 {trial.prompt}, {trial.case}: {'; '.join(trial.complaints)}")
        typer.echo(f"{len(trials) - len(failed)} of {len(trials)} cases hold")
    return 1 if failed else 0


async def _run(registry: PromptRegistry, prompt_ids: Sequence[str], live: LLMSettings | None) -> list[Trial]:
    trials = []
    async with _gateway(live) as gateway:
        for label, version, cases in _to_try(registry):
            if prompt_ids and version.id not in prompt_ids:
                continue
            for case in cases:
                complaints = await _try(version, case, gateway, live)
                trials.append(Trial(label, case.name, complaints))
    return trials


def _to_try(registry: PromptRegistry) -> Iterator[tuple[str, PromptVersion, Sequence[Case]]]:
    """What is in use, and beside it each file that says otherwise: the next start would take that in."""
    of_files = {prompt.id: prompt for prompt in PromptRegistry(registry.loaded, registry.environment).prompts()}
    for prompt in registry.prompts():
        used, written = prompt.versions[prompt.current], of_files.get(prompt.id)
        if written is None:
            yield used.label, used, prompt.cases
            continue
        version = written.versions[written.current]
        if content_of(used.body, used.messages) == content_of(version.body, version.messages):
            yield used.label, used, written.cases
        else:
            yield used.label, used, prompt.cases
            yield f"{prompt.id} (file)", version, written.cases


@asynccontextmanager
async def _gateway(live: LLMSettings | None) -> AsyncIterator[Gateway | None]:
    if live is None:
        yield None
        return
    gateway = build_gateway(live)
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.close()


async def _try(prompt: PromptVersion, case: Case, gateway: Gateway | None, live: LLMSettings | None) -> list[str]:
    try:
        if gateway is None or live is None:
            complaints = [*complaints_about_messages(prompt, case)]
            if case.stub_answer is not None:
                complaints += complaints_about_answer(case.expect.answer, case.stub_answer)
            return complaints
        complaints = [*complaints_about_messages(prompt, case, provider_of(live.model))]
        answer = await _ask(prompt, case, gateway, live)
        return [*complaints, *complaints_about_answer(case.expect.answer, answer)]
    except PromptRefused as refusal:
        return [refusal.message]
    except LLMError as fault:
        return [fault.explain()]


async def _ask(prompt: PromptVersion, case: Case, gateway: Gateway, live: LLMSettings) -> str:
    """The model's answer, as JSON where the case wants keys of it."""
    call = Call(
        task=prompt.hints.task or prompt.id,
        prompt=prompt,
        variables=case.variables,
        document=case.document or "",
        spender=Spender(user_id="", lane="prompts"),
        deadline_seconds=live.timeout_seconds,
        parameters=Parameters(temperature=prompt.hints.temperature, max_tokens=prompt.hints.max_output_tokens),
    )
    keys: dict[str, Any] = dict.fromkeys(case.expect.answer.json_keys, (Any, ...))
    if keys:
        form: type[BaseModel] = create_model("Answer", **keys)
        return (await gateway.extract(call, form)).content.model_dump_json()
    return (await gateway.extract(call, _FreeAnswer)).content.answer
