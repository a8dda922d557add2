"""What a model is sent of a document: made smaller where the task allows it, cut to the window, with its coverage."""

from dataclasses import replace
from typing import Any

import pytest

from app.config import LLMSettings
from app.context.estimate import estimate
from app.context.fitting import GAP
from app.context.local_server import LocalServers
from app.errors import LLMContextTooLong
from app.llm.call import Call, Parameters, Spender
from app.llm.extraction import ModelFacts
from app.llm.local_models import LocalModels
from app.llm.rendering import Rendered, Renderer
from app.llm.routing import Candidate
from app.llm.routing_rules import TaskRules, load_rules
from app.prompts.registry import as_in_files
from app.providers.outbound import ConnectionGuard, GuardedSession
from app.providers.provider import Provider, ProviderKind
from tests.context.corpus import mixed_corpus
from tests.llm.gateway_calls import chat
from tests.llm.recorder import MODEL

BOUNDS = {"title_max_chars": 100, "summary_max_chars": 500, "tag_max_chars": 50, "tags_min": 3, "tags_max": 5}
LONG = " ".join(f"Sentence number {number} of a long note." for number in range(1200))
SHIPPED = load_rules().tasks
PROMPTS = as_in_files("development")
COMPATIBLE = ProviderKind.OPENAI_COMPATIBLE


def candidate(window: int | None, kind: ProviderKind = ProviderKind.OPENAI) -> Candidate:
    facts = ModelFacts("openai", context_window=window)
    return Candidate(MODEL, Provider("openai", kind), facts, "")


def call_of(text: str, prompt: str = "enrichment", **variables: Any) -> Call:
    return Call(
        task=prompt,
        prompt=PROMPTS.get(prompt),
        variables=variables or BOUNDS,
        document=text,
        spender=Spender("ann", prompt),
        deadline_seconds=10,
        parameters=Parameters(max_tokens=100),
    )


def renderer(*, is_compressing: bool = True) -> Renderer:
    servers = LocalServers(GuardedSession(ConnectionGuard.of(LLMSettings(_env_file=None))))
    return Renderer(LocalModels(servers), is_compressing=is_compressing, output_tokens=1024)


async def rendered(
    call: Call, chosen: Candidate, *, compress: tuple[str, ...] = (), beside_tokens: int = 0
) -> Rendered:
    rules = TaskRules.model_validate({"compress": compress})
    return await renderer().render(call, chosen, rules, beside_tokens)


def text_of(rendered: Rendered) -> str:
    return str(rendered.messages[-1]["content"])


def tokens_of(rendered: Rendered) -> int:
    return sum(estimate(str(message["content"])) for message in rendered.messages)


async def test_a_long_document_is_read_at_head_middle_and_tail_and_the_coverage_is_told() -> None:
    found = await rendered(call_of(LONG), candidate(3000))
    assert 0 < found.coverage < 1
    text = text_of(found)
    assert "Sentence number 0 " in text and "Sentence number 1199 " in text and GAP.strip() in text


@pytest.mark.parametrize(("window", "kind"), [(128_000, ProviderKind.OPENAI), (None, ProviderKind.OPENAI)])
async def test_what_fits_or_may_fit_is_sent_whole(window: int | None, kind: ProviderKind) -> None:
    assert (await rendered(call_of(LONG), candidate(window, kind))).coverage == 1


async def test_of_a_local_server_that_tells_no_window_little_is_expected() -> None:
    assert (await rendered(call_of(LONG), candidate(None, COMPATIBLE))).coverage < 1


async def test_a_window_without_room_for_any_document_is_an_error() -> None:
    with pytest.raises(LLMContextTooLong):
        await rendered(call_of(LONG), candidate(200))


async def test_messages_are_sent_as_they_are() -> None:
    call = replace(chat(), document=LONG)
    assert (await rendered(call, candidate(200), compress=("blanks", "repeats"))).messages is call.prompt


async def test_what_goes_along_with_the_messages_has_its_room_too() -> None:
    alone = await rendered(call_of(LONG), candidate(4000, COMPATIBLE))
    beside = await rendered(call_of(LONG), candidate(4000, COMPATIBLE), beside_tokens=1000)
    assert tokens_of(alone) - tokens_of(beside) >= 900


async def test_the_prompt_says_which_part_of_a_long_text_is_shown() -> None:
    needle = "The heron sleeps behind the old mill."
    text = LONG[:20_000] + f"\n\n{needle}\n\n" + LONG[20_000:]
    asked = await rendered(call_of(text, "query", question="Where does the heron sleep?"), candidate(3000))
    assert needle in text_of(asked) and 0 < asked.coverage < 1
    assert needle not in text_of(await rendered(call_of(text), candidate(3000)))


async def test_a_text_of_an_enrichment_is_made_smaller_and_its_tokens_are_told() -> None:
    text = "A  note\n\n\n\n" + "The ferry does not go today because of the storm.\n" * 9
    call = call_of(text)
    found = await renderer().render(call, candidate(128_000), SHIPPED["enrichment"], 0)
    assert "A note\n\nThe ferry does not go today because of the storm. ×9" in text_of(found)
    assert found.compressed_tokens > 80 and found.coverage == 1


@pytest.mark.parametrize("task", sorted(SHIPPED.keys() - {"enrichment"}))
async def test_no_other_shipped_task_changes_a_letter(task: str) -> None:
    """Questions are answered with quotations, and extractions name their evidence letter by letter."""
    text = "a  b\n\n\n\n" + "The ferry does not go today because of the storm.\n" * 9
    found = await renderer().render(call_of(text), candidate(128_000), SHIPPED[task], 0)
    assert text in text_of(found) and found.compressed_tokens == 0


async def test_it_can_be_switched_off_for_all() -> None:
    text = "a  b\n\n\n\nc"
    found = await renderer(is_compressing=False).render(call_of(text), candidate(128_000), SHIPPED["enrichment"], 0)
    assert text in text_of(found) and found.compressed_tokens == 0


async def test_comments_that_were_taken_out_were_not_seen() -> None:
    text = "Read this:\n```py\n# A comment that says a lot about the line below.\nx = 1\n```\n"
    found = await rendered(call_of(text), candidate(128_000), compress=("comments",))
    assert "A comment" not in text_of(found)
    assert found.coverage == pytest.approx((len(text) - 50) / len(text), abs=0.02)


async def test_what_compression_saves_is_read_of_a_long_text() -> None:
    text = "\n".join([line for number in range(400) for line in [f"Line {number} of the log.", "x" * 40 + " the same"]])
    plain = await rendered(call_of(text), candidate(3000))
    smaller = await rendered(call_of(text), candidate(3000), compress=("repeats",))
    assert plain.coverage < smaller.coverage <= 1


async def test_what_ships_saves_15_percent_of_the_mixed_corpus_and_loses_nothing_planted_in_it() -> None:
    before = after = 0
    for pasted in mixed_corpus():
        call = call_of(pasted.text)
        whole = await rendered(call, candidate(None))
        smaller = await renderer().render(call, candidate(None), SHIPPED["enrichment"], 0)
        empty = estimate(text_of(await rendered(call_of("."), candidate(None))))
        before, after = before + estimate(text_of(whole)) - empty, after + estimate(text_of(smaller)) - empty
        assert [fact for fact in pasted.facts if fact not in text_of(smaller)] == []
        lines = {" ".join(line.split()).strip("> ") for line in pasted.text.replace("\u00a0", " ").splitlines()}
        kept = " ".join(text_of(smaller).split())
        assert [line for line in lines if line not in kept and not set(line) <= set("-|: ")] == []
    assert 1 - after / before >= 0.15
