"""The transition table, whole: every status, every action, both modes."""

import itertools

import pytest

from app.accounts.privacy import Privacy
from app.errors import InvalidTransition
from app.items.item import Action as A  # noqa: N817
from app.items.item import EnrichmentMode, allowed_actions, next_status
from app.items.item import ItemStatus as S

# Written out from the contract, not from the code.
ALLOWED = {
    (S.ENRICHING, A.DISCARD): S.DISCARDED,
    (S.ENRICHING, A.FINISH): S.READY_TO_CONFIRM,
    (S.ENRICHING, A.FAIL): S.FAILED,
    (S.READY_TO_CONFIRM, A.CONFIRM): S.ARCHIVED,
    (S.READY_TO_CONFIRM, A.DISCARD): S.DISCARDED,
    (S.READY_TO_CONFIRM, A.EDIT): S.READY_TO_CONFIRM,
    (S.FAILED, A.CONFIRM): S.ARCHIVED,
    (S.FAILED, A.DISCARD): S.DISCARDED,
    (S.FAILED, A.EDIT): S.FAILED,
    (S.FAILED, A.RETRY): S.ENRICHING,
    (S.ARCHIVED, A.DISCARD): S.DISCARDED,
    (S.ARCHIVED, A.EDIT): S.ARCHIVED,
    (S.ARCHIVED, A.UNCONFIRM): S.READY_TO_CONFIRM,
}
EVERY = list(itertools.product(S, A, EnrichmentMode))
WORKERS = {A.FINISH, A.FAIL}


def expected(status: S, action: A, mode: EnrichmentMode) -> S | None:
    if action is A.UNCONFIRM and mode is EnrichmentMode.MANUAL:
        return None
    return ALLOWED.get((status, action))


@pytest.mark.parametrize(("status", "action", "mode"), EVERY)
def test_each_action_leads_where_the_contract_says(status: S, action: A, mode: EnrichmentMode) -> None:
    following = expected(status, action, mode)
    if following is not None:
        assert next_status(status, action, mode) is following
        return
    with pytest.raises(InvalidTransition) as caught:
        next_status(status, action, mode)
    assert caught.value.details == {
        "currentState": status,
        "attemptedAction": action,
        "allowedActions": allowed_actions(status, mode),
    }


@pytest.mark.parametrize(("status", "mode"), list(itertools.product(S, EnrichmentMode)))
def test_what_is_offered_is_what_a_person_may_do(status: S, mode: EnrichmentMode) -> None:
    offered = {action for action in A if action not in WORKERS and expected(status, action, mode) is not None}
    assert set(allowed_actions(status, mode)) == offered


def test_discarded_is_final() -> None:
    assert allowed_actions(S.DISCARDED) == []


@pytest.mark.parametrize("mode", EnrichmentMode)
def test_what_no_model_may_see_cannot_be_tried_again(mode: EnrichmentMode) -> None:
    assert A.RETRY not in allowed_actions(S.FAILED, mode, Privacy.NONE)
    with pytest.raises(InvalidTransition, match="no model may see it") as caught:
        next_status(S.FAILED, A.RETRY, mode, Privacy.NONE)
    assert caught.value.details is not None
    assert caught.value.details["allowedActions"] == [A.CONFIRM, A.DISCARD, A.EDIT]
    assert next_status(S.FAILED, A.RETRY, mode, Privacy.LOCAL_ONLY) is S.ENRICHING


@pytest.mark.parametrize("status", S)
def test_privacy_forbids_nothing_but_the_retry(status: S) -> None:
    assert set(allowed_actions(status)) - set(allowed_actions(status, privacy=Privacy.NONE)) <= {A.RETRY}
