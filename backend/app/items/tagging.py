"""Which tags an item carries: the arithmetic of suggestions and a person's own tags, and how it is stored.

Names are compared by `name_key`; the person's existing spelling wins over a new one. A suggestion becomes a tag of
the vocabulary only when its item is confirmed.
"""

import unicodedata
from collections.abc import Iterable, Sequence

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.clock import utc_now
from app.database import new_id
from app.errors import InvalidInput
from app.items.item import ItemStatus, SuggestionStatus
from app.items.item_model import Item, ItemTag, Tag
from app.items.schemas import ItemPatch


def name_key(name: str) -> str:
    """The form in which two spellings of a tag are equal."""
    return unicodedata.normalize("NFKC", name).casefold()


def clean_name(name: str) -> str:
    """The name with single spaces. Raises InvalidInput when nothing is left."""
    cleaned = " ".join(name.split())
    if not cleaned:
        raise InvalidInput("A tag's name must not be blank.", {"field": "tags"})
    return cleaned


def owned_tags(session: Session, user_id: str, tag_ids: Sequence[str]) -> list[Tag]:
    """The live tags with these ids. Raises InvalidInput when one is unknown or another person's."""
    wanted = set(tag_ids)
    if not wanted:
        return []
    query = select(Tag).where(Tag.user_id == user_id, Tag.id.in_(wanted), Tag.deleted_at.is_(None))
    found = list(session.scalars(query))
    if len(found) != len(wanted):
        raise InvalidInput("A tag id is unknown.", {"field": "tagIds"})
    return found


def ensure_tags(session: Session, user_id: str, names: Iterable[str]) -> list[Tag]:
    """The person's tags of these names, made or revived where needed."""
    wanted = {name_key(name): name for name in names}
    if not wanted:
        return []
    now = utc_now()
    rows = [
        {
            "id": new_id(),
            "user_id": user_id,
            "name": name,
            "name_key": key,
            "created_at": now,
            "updated_at": now,
        }
        for key, name in sorted(wanted.items())  # one order for all writers, or two of them could deadlock
    ]
    insert = sqlite.insert if session.get_bind().dialect.name == "sqlite" else postgresql.insert
    revived = {"deleted_at": None}
    statement = insert(Tag).on_conflict_do_update(index_elements=["user_id", "name_key"], set_=revived)
    session.execute(statement, rows)
    query = select(Tag).where(Tag.user_id == user_id, Tag.name_key.in_(list(wanted)))
    return list(session.scalars(query.execution_options(populate_existing=True)))


def linked_tags(session: Session, item_id: str) -> list[Tag]:
    query = select(Tag).join(ItemTag, ItemTag.tag_id == Tag.id).where(ItemTag.item_id == item_id)
    return list(session.scalars(query.where(Tag.deleted_at.is_(None))))


def link_tags(session: Session, item_id: str, tags: Sequence[Tag]) -> None:
    """Make `tags` the whole set that is linked to the item."""
    session.execute(delete(ItemTag).where(ItemTag.item_id == item_id))
    session.add_all(ItemTag(item_id=item_id, tag_id=tag.id) for tag in tags)


def apply_tags(session: Session, item: Item, patch: ItemPatch) -> tuple[list[str], list[str]]:
    """Bring the item's suggestions and links to what `patch` says; the item's new status is already set.

    The final set is (`tags` if given, else what the item carries) ∪ accepted ∪ added − rejected. Returns the names
    carried before and after. Raises InvalidInput on an unknown suggestion or tag id.
    """
    links = linked_tags(session, item.id)
    carried = _carried_names(item, [tag.name for tag in links])
    before = sorted(carried.values())
    by_id = {entry["id"]: entry["name"] for entry in item.suggestions}
    accepted = _keyed(_names_of(by_id, patch.accepted_suggestion_ids))
    rejected = _keyed(_names_of(by_id, patch.rejected_suggestion_ids))
    added = {tag.name_key: tag.name for tag in owned_tags(session, item.user_id, patch.added_tag_ids)}
    if patch.tags is not None:
        carried = _keyed(clean_name(name) for name in patch.tags)
    final = {key: name for key, name in (carried | accepted | added).items() if key not in rejected}
    decided = patch.tags is not None or item.status == ItemStatus.ARCHIVED
    _store(session, item, final, accepted | added, decided=decided)
    return before, sorted(final.values())


def _store(
    session: Session, item: Item, final: dict[str, str], accepted: dict[str, str], *, decided: bool
) -> None:
    """Split the final set into suggestions, which keep their own state, and links to the vocabulary."""
    suggestions = []
    for entry in item.suggestions:
        key = name_key(entry["name"])
        status = entry["status"]
        if key not in final:
            status = SuggestionStatus.REJECTED
        elif decided or key in accepted:
            status = SuggestionStatus.ACCEPTED
        suggestions.append({**entry, "status": status})
    suggested = {name_key(entry["name"]) for entry in suggestions}
    item.suggestions = suggestions
    archived = item.status == ItemStatus.ARCHIVED
    names = [name for key, name in final.items() if archived or key not in suggested]
    link_tags(session, item.id, ensure_tags(session, item.user_id, names))


def _carried_names(item: Item, linked: Sequence[str]) -> dict[str, str]:
    names = _keyed(linked)
    if item.confirmed_at is None:
        for entry in item.suggestions:
            if entry["status"] != SuggestionStatus.REJECTED:
                names.setdefault(name_key(entry["name"]), entry["name"])
    return names


def reopen_suggestions(session: Session, item: Item) -> None:
    """Make what was accepted a proposal again; what the person added stays linked."""
    proposed = {name_key(entry["name"]) for entry in item.suggestions}
    own = [tag for tag in linked_tags(session, item.id) if tag.name_key not in proposed]
    link_tags(session, item.id, own)
    item.suggestions = [
        {**entry, "status": SuggestionStatus.PENDING}
        if entry["status"] == SuggestionStatus.ACCEPTED
        else entry
        for entry in item.suggestions
    ]


def _names_of(by_id: dict[str, str], ids: Sequence[str]) -> list[str]:
    try:
        return [by_id[suggestion_id] for suggestion_id in ids]
    except KeyError:
        raise InvalidInput("A suggestion id is unknown.", {"field": "suggestionIds"}) from None


def _keyed(names: Iterable[str]) -> dict[str, str]:
    keyed: dict[str, str] = {}
    for name in names:
        keyed.setdefault(name_key(name), name)
    return keyed
