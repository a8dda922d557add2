"""The life of an item: its statuses, what can be done in each, and nothing else.

This table is the only place that decides; the API asks it before it writes, the worker takes its statuses
from it, and the tests drive both against it.
"""

from enum import StrEnum

from app.accounts.privacy import Privacy
from app.errors import InvalidTransition

RAW_TEXT_MAX_CHARS = 10_000
TITLE_MAX_CHARS = 100
SUMMARY_MAX_CHARS = 500
TAG_MAX_CHARS = 50
MANUAL_TITLE_MAX_CHARS = 60


class ItemStatus(StrEnum):
    ENRICHING = "ENRICHING"
    READY_TO_CONFIRM = "READY_TO_CONFIRM"
    FAILED = "FAILED"
    ARCHIVED = "ARCHIVED"
    DISCARDED = "DISCARDED"


class Action(StrEnum):
    """What a person does; FINISH and FAIL are the worker's."""

    CONFIRM = "confirm"
    DISCARD = "discard"
    EDIT = "edit"
    RETRY = "retry"
    UNCONFIRM = "unconfirm"
    FINISH = "finish"
    FAIL = "fail"


class SourceType(StrEnum):
    """NOTE: the person's own words. ARTICLE: something published."""

    NOTE = "NOTE"
    ARTICLE = "ARTICLE"


class Actor(StrEnum):
    """Who changed an item."""

    PERSON = "person"
    WORKER = "worker"
    RULE = "rule"


class EnrichmentMode(StrEnum):
    """AI: a model proposes and a person confirms. MANUAL: captured without a model."""

    AI = "AI"
    MANUAL = "MANUAL"


class SuggestionStatus(StrEnum):
    PENDING = "PENDING"
    ACCEPTED = "ACCEPTED"
    REJECTED = "REJECTED"


PENDING_STATUSES = (ItemStatus.ENRICHING, ItemStatus.READY_TO_CONFIRM, ItemStatus.FAILED)
_WORKER_ACTIONS = (Action.FINISH, Action.FAIL)
_UNSEEN = " Its privacy is none: no model may see it."

TRANSITIONS: dict[ItemStatus, dict[Action, ItemStatus]] = {
    ItemStatus.ENRICHING: {
        Action.DISCARD: ItemStatus.DISCARDED,
        Action.FINISH: ItemStatus.READY_TO_CONFIRM,
        Action.FAIL: ItemStatus.FAILED,
    },
    ItemStatus.READY_TO_CONFIRM: {
        Action.CONFIRM: ItemStatus.ARCHIVED,
        Action.DISCARD: ItemStatus.DISCARDED,
        Action.EDIT: ItemStatus.READY_TO_CONFIRM,
    },
    ItemStatus.FAILED: {
        Action.CONFIRM: ItemStatus.ARCHIVED,
        Action.DISCARD: ItemStatus.DISCARDED,
        Action.EDIT: ItemStatus.FAILED,
        Action.RETRY: ItemStatus.ENRICHING,
    },
    ItemStatus.ARCHIVED: {
        Action.DISCARD: ItemStatus.DISCARDED,
        Action.EDIT: ItemStatus.ARCHIVED,
        Action.UNCONFIRM: ItemStatus.READY_TO_CONFIRM,
    },
    ItemStatus.DISCARDED: {},
}


def allowed_actions(
    status: ItemStatus, mode: EnrichmentMode = EnrichmentMode.AI, privacy: Privacy = Privacy.ANY
) -> list[Action]:
    """What a person may do with an item in this status."""
    return [action for action in TRANSITIONS[status] if action not in _WORKER_ACTIONS and _fits(action, mode, privacy)]


def next_status(
    status: ItemStatus,
    action: Action,
    mode: EnrichmentMode = EnrichmentMode.AI,
    privacy: Privacy = Privacy.ANY,
) -> ItemStatus:
    """The status after `action`. Raises InvalidTransition, which names the states, when it is not allowed."""
    following = TRANSITIONS[status].get(action)
    if following is None or not _fits(action, mode, privacy):
        is_unseen = action is Action.RETRY and privacy is Privacy.NONE
        raise InvalidTransition(
            f"An item that is {status} does not allow {action}.{_UNSEEN if is_unseen else ''}",
            {
                "currentState": status,
                "attemptedAction": action,
                "allowedActions": allowed_actions(status, mode, privacy),
            },
        )
    return following


def _fits(action: Action, mode: EnrichmentMode, privacy: Privacy) -> bool:
    """Only what a model proposed can go back to its proposals, and only what one may see can be tried again."""
    if action is Action.RETRY:
        return privacy is not Privacy.NONE
    return action is not Action.UNCONFIRM or mode is EnrichmentMode.AI
