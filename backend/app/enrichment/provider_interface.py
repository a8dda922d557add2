"""What the worker needs of an enrichment provider, and how a provider finds the others.

To add one: a module with a class that has this method, and a line in `enrichment/lane.py:build_provider`.
"""

from typing import Protocol

from app.enrichment.schemas import EnrichmentResult
from app.llm.attempts import UNRECORDED, AttemptRecorder


class EnrichmentProvider(Protocol):
    """Turns a text into an enrichment."""

    async def enrich_item(self, text: str, *, attempts: AttemptRecorder = UNRECORDED) -> EnrichmentResult:
        """The enrichment of `text`.

        Opens an attempt in `attempts` before each upstream call and closes it after. Raises an `LLMError`
        when no model gave a valid answer and `LeaseLost` when the row is no longer ours; on cancellation the
        upstream call is dropped.
        """
        ...

    async def start(self) -> None:
        """Get ready to be called; slow imports happen here, off the event loop."""
        ...

    async def close(self) -> None: ...
