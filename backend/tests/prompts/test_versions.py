"""Versions in the database: what a start makes of the files, several at once, and how processes hear of changes."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy import text, update

from app.database import Database
from app.errors import NotFound, NotReady, ServiceUnavailable
from app.newswire import Newswire
from app.prompts import versions
from app.prompts.files import TemplateSet, load_templates
from app.prompts.prompt_model import PromptVersionRow
from app.prompts.registry import PromptRegistry, following
from app.prompts.template import Piece, Template

AUTHOR = "0" * 36


def changed(loaded: TemplateSet, prompt_id: str, **values: Any) -> TemplateSet:
    """The files of another release: one template has other values."""
    template = loaded.templates[prompt_id].model_copy(update=values)
    return replace(loaded, templates={**loaded.templates, prompt_id: template})


def other_words(loaded: TemplateSet, prompt_id: str, words: str) -> TemplateSet:
    system = (*loaded.templates[prompt_id].system, Piece(text=words))
    return changed(loaded, prompt_id, system=system)


@asynccontextmanager
async def process(database: Database, loaded: TemplateSet) -> AsyncIterator[PromptRegistry]:
    """The registry of a process that has started."""
    registry = PromptRegistry(loaded, "development")
    async with following(database, registry):
        yield registry


async def started(database: Database, loaded: TemplateSet) -> PromptRegistry:
    """The registry of a process that has started and stopped again."""
    async with process(database, loaded) as registry:
        return registry


async def rows_of(database: Database, table: str) -> int:
    return int(await database.read(lambda s: s.scalar(text(f"SELECT count(*) FROM {table}"))))  # noqa: S608


async def change(database: Database, template: Template, messages: Mapping[str, str]) -> None:
    await database.write(lambda s: versions.change_prompt(s, template, messages, AUTHOR))


async def test_a_second_start_writes_nothing(database: Database) -> None:
    loaded = load_templates()
    await started(database, loaded)
    assert await database.read(lambda s: versions.files_are_taken_in(s, loaded))
    await started(database, loaded)
    assert await rows_of(database, "prompt_versions") == len(loaded.templates)


async def test_parallel_starts_make_one_version_of_each(database_url: str, database: Database) -> None:
    loaded = other_words(load_templates(), "query", "Be quick.")
    others = [Database(database_url) for _ in range(4)]
    for other in others:
        await other.start()
    made = await asyncio.gather(*(started(other, loaded) for other in others))
    for other in others:
        await other.close()
    assert {registry.get("query").version for registry in made} == {1}
    assert await rows_of(database, "prompt_versions") == len(loaded.templates)


async def test_a_release_with_other_words_makes_the_next_version(database: Database) -> None:
    loaded = load_templates()
    await started(database, loaded)
    registry = await started(database, other_words(loaded, "query", "Be quick."))
    assert registry.get("query").label == "query/2" and registry.get("enrichment").label == "enrichment/1"
    assert "Be quick." in registry.get("query").render("stub", {"question": "Why?"})[0]["content"]
    assert "Be quick." not in registry.get("query", 1).render("stub", {"question": "Why?"})[0]["content"]


async def test_a_changed_system_message_is_a_new_version_of_whatever_composes_it(database: Database) -> None:
    loaded = load_templates()
    await started(database, loaded)
    registry = await started(database, replace(loaded, messages={**loaded.messages, "answerer": "You answer."}))
    assert (registry.get("query").version, registry.get("enrichment").version) == (2, 1)


async def test_the_release_before_is_the_version_before(database: Database) -> None:
    loaded = load_templates()
    await started(database, loaded)
    await started(database, other_words(loaded, "query", "Be quick."))
    assert (await started(database, loaded)).get("query").version == 1
    assert await rows_of(database, "prompt_versions") == len(loaded.templates) + 1


async def test_a_new_description_makes_no_version(database: Database) -> None:
    loaded = load_templates()
    await started(database, loaded)
    registry = await started(database, changed(loaded, "query", description="Other words.", category="other"))
    assert (registry.get("query").version, registry.get("query").category) == (1, "other")


async def test_what_an_admin_chose_outlives_a_release(database: Database) -> None:
    loaded = load_templates()
    await started(database, loaded)
    own = loaded.templates["query"].model_copy(update={"user": "Asked: {{ question }}"})
    await change(database, own, loaded.messages)
    registry = await started(database, other_words(loaded, "query", "Be quick."))
    assert registry.get("query").version == 2
    assert registry.get("query").render("stub", {"question": "Why?"})[1]["content"] == "Asked: Why?"
    assert registry.get("query", 3).version == 3


async def test_a_pinned_version_outlives_a_release(database: Database) -> None:
    loaded = load_templates()
    await started(database, loaded)
    await database.write(lambda s: versions.pin_version(s, versions.locked_prompt(s, "query"), 1))
    assert (await started(database, other_words(loaded, "query", "Be quick."))).get("query").version == 1


async def test_a_version_that_callers_of_this_release_cannot_use_is_not_in_use(database: Database) -> None:
    loaded = load_templates()
    await started(database, loaded)
    await change(
        database, loaded.templates["query"].model_copy(update={"user": "Asked: {{ question }}"}), loaded.messages
    )
    variables = {**loaded.templates["query"].variables}
    variables["tongue"] = variables["length"]
    registry = await started(database, changed(loaded, "query", variables=variables))
    assert registry.get("query").version == 3
    registry.get("query").render("stub", {"question": "Why?", "tongue": "short"})


async def test_a_version_of_a_form_that_is_not_known_is_left_out(database: Database) -> None:
    loaded = load_templates()
    await started(database, loaded)
    broken = update(PromptVersionRow).where(PromptVersionRow.prompt_id == "query")
    await database.write(lambda s: s.execute(broken.values(content={"body": {"new": 1}, "messages": {}})))
    with structlog.testing.capture_logs() as logs:
        registry = await started(database, loaded)
    assert {"prompt.unreadable", "prompt.not_usable"} <= {line["event"] for line in logs}
    assert registry.get("query").label == "query/1"  # as in the files, rather than none


async def test_after_a_change_only_what_is_new_is_read(database: Database) -> None:
    loaded = load_templates()
    registry = await started(database, loaded)
    first = registry.get("query", 1).body
    lost = update(PromptVersionRow).values(content={"body": {"new": 1}, "messages": {}})
    await database.write(lambda s: s.execute(lost))
    changed_one = {"user": "Asked: {{ question }}", "category": "other"}
    await change(database, loaded.templates["query"].model_copy(update=changed_one), loaded.messages)
    await registry.refresh(database)
    assert registry.get("query", 1).body == first
    assert registry.get("query", 2).body.user == "Asked: {{ question }}"
    assert [registry.get("query", number).category for number in (1, 2)] == ["other", "other"]


async def test_a_database_that_is_away_stops_the_start_in_plain_words() -> None:
    class Away(Database):
        async def read(self, work: object) -> None:  # type: ignore[override]
            raise ServiceUnavailable

    with pytest.raises(NotReady, match="prompts"):
        await started(Away("sqlite+aiosqlite:///nothing.db"), load_templates())


async def until(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.to_thread(lambda: None)


async def test_another_process_hears_of_a_change(database_url: str, database: Database) -> None:
    loaded = load_templates()
    async with process(database, loaded) as registry:
        newswire = Newswire(database)
        newswire.start()
        other = Database(database_url)
        await other.start()
        await change(other, loaded.templates["query"].model_copy(update={"user": "{{ question }}!"}), loaded.messages)
        await until(lambda: registry.get("query").version == 2)
        await other.close()
        await newswire.close()


@pytest.mark.parametrize("fault", [ServiceUnavailable, RuntimeError])
async def test_after_an_outage_the_change_is_found(
    database: Database, monkeypatch: pytest.MonkeyPatch, fault: type[Exception]
) -> None:
    monkeypatch.setattr("app.following._SHORTEST_GAP_SECONDS", 0.01)
    loaded = load_templates()
    async with process(database, loaded) as registry:
        real, tries = database.read, []

        async def away(work: Any) -> Any:
            tries.append(work)
            raise fault

        monkeypatch.setattr(database, "read", away)
        await change(
            database, loaded.templates["query"].model_copy(update={"user": "{{ question }}!"}), loaded.messages
        )
        await until(lambda: len(tries) > 1)
        monkeypatch.setattr(database, "read", real)
        await until(lambda: registry.get("query").version == 2)


async def test_an_older_reading_never_takes_the_place_of_a_newer_one(database: Database) -> None:
    loaded = load_templates()
    await started(database, loaded)
    registry, gate, reads = PromptRegistry(loaded, "development"), asyncio.Event(), []

    class Slow:
        """The rows, which are read second, arrive late."""

        async def read(self, work: Any) -> Any:
            found = await database.read(work)
            reads.append(work)
            if len(reads) == 2:
                await gate.wait()
            return found

    slow: Any = Slow()
    late = asyncio.create_task(registry.refresh(slow))
    await until(lambda: len(reads) == 2)
    await change(database, loaded.templates["query"].model_copy(update={"user": "{{ question }}!"}), loaded.messages)
    await registry.refresh(database)
    gate.set()
    await late
    assert registry.get("query").version == 2


async def test_the_start_takes_a_folder_of_ones_own_in(database: Database, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("id: own\ncategory: example\nsystem: [{text: Be.}]\nuser: Hi.\n")
    registry = await started(database, load_templates(tmp_path))
    assert registry.get("own").label == "own/1"
    gone = await started(database, load_templates())
    assert gone.get("own").label == "own/1"
    with pytest.raises(NotFound):
        gone.get("own", 2)
