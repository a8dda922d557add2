"""Every table, imported together: what migrations compare the database with."""

from app.accounts.user_model import User
from app.database import Base
from app.items.item_model import IdempotencyKey, Item, ItemEvent, ItemTag, Tag
from app.llm.cache_model import CachedAnswer
from app.llm.ledger.attempt_model import LLMAttempt
from app.llm.traffic.shared.traffic_model import LLMGate, LLMShare
from app.prompts.prompt_model import PromptRow, PromptVersionRow
from app.providers.provider_model import LLMProvider
from app.queries.query_model import Query
from app.queries.quota import LiveChat
from app.spending.budget_model import LLMBudget, LLMSpend, LLMUsageDay, SpendingAlert
from app.spending.quotas import QuotaCount

metadata = Base.metadata

__all__ = [
    "CachedAnswer",
    "IdempotencyKey",
    "Item",
    "ItemEvent",
    "ItemTag",
    "LLMAttempt",
    "LLMBudget",
    "LLMGate",
    "LLMProvider",
    "LLMShare",
    "LLMSpend",
    "LLMUsageDay",
    "LiveChat",
    "PromptRow",
    "PromptVersionRow",
    "Query",
    "QuotaCount",
    "SpendingAlert",
    "Tag",
    "User",
    "metadata",
]
