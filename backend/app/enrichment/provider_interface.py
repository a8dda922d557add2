"""What the worker needs of an enrichment provider, and how a provider finds the others.

To add one: a module with a class that has these methods, and a line in
`enrichment/providers.py:build_provider`.
"""

from typing import Protocol

from app.accounts.privacy import Privacy
from app.enrichment.schemas import EnrichmentResult
from app.llm.attempts import UNRECORDED, AttemptRecorder, FirstCall


class EnrichmentProvider(Protocol):
    """Turns a text into an enrichment."""

    async def enrich_item(
        self,
        text: str,
        *,
        privacy: Privacy = Privacy.ANY,
        attempts: AttemptRecorder = UNRECORDED,
        user_id: str | None = None,
    ) -> EnrichmentResult:
        """The enrichment of `text`, which is this person's; None: nobody's, and then it is given to nobody again.

        No model sees it that `privacy` forbids; where that leaves none, LLMPrivateText is raised.
        Opens an attempt in `attempts` before each upstream call and closes it after. Raises an `LLMError`
        when no model gave a valid answer, whose `remedy` and `retry_after_seconds` say what to do about this
        item, and `LeaseLost` when the row is no longer ours; on cancellation the upstream call is dropped.
        """
        ...

    async def start(self) -> None:
        """Get ready to be called; slow imports happen here, off the event loop."""
        ...

    async def close(self) -> None: ...

    def first_call(self) -> FirstCall | None:
        """What `enrich_item` will open its first attempt for where any model may see the text; None when it depends."""
        ...

    def allowance(self) -> int:
        """How many items may be taken for it now; 0 while no model of its plan may be asked."""
        ...

    def seconds_until_open(self) -> float:
        """How long an allowance of 0 lasts at least; 0 when it lasts until a probe under way has ended."""
        ...
