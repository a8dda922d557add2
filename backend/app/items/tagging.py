"""Which tags an item carries: the arithmetic of suggestions and a person's own tags, and how it is stored.

Names are compared by `name_key`; the person's existing spelling wins over a new one. A suggestion becomes a
tag of the vocabulary only when its item is confirmed.
"""

import unicodedata
from collections.abc import Iterable, Sequence

from sqlalchemy import delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from app.clock import utc_now
from app.database import new_id
from app.errors import InvalidInput
from app.items.item import ItemStatus, SuggestionStatus
from app.items.item_model import Item, ItemTag, Tag
from app.items.schemas import ItemPatch

_VOCABULARY_LOCKS = 7_316_295  # any number of our own: the first half of the advisory locks' keys
_INVISIBLE = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf"})  # not Cn: an emoji newer than our tables is unassigned


def name_key(name: str) -> str:
    """The form in which two spellings of a tag are equal."""
    if name.isascii():
        return name.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def is_blank(text: str) -> bool:
    """Nothing in it can be seen: white space, controls, zero-width and other format characters."""
    return all(unicodedata.category(character) in _INVISIBLE for character in text)


def single_spaced(name: str) -> str:
    return " ".join(name.split())


def clean_name(name: str, field: str) -> str:
    """The name with single spaces. Raises InvalidInput, for this field of the request, when nothing is left."""
    cleaned = single_spaced(name)
    if is_blank(cleaned):
        raise InvalidInput("A tag's name must not be blank.", {"field": field, "rule": "blank"})
    return cleaned


def lock_vocabulary(session: Session, user_id: str, *, alone: bool) -> None:
    """Until the transaction ends nobody changes the person's vocabulary; with `alone` nobody uses it either.

    Without it an item could get a tag that a merge has just taken away. Take it after the item's own lock. On
    SQLite writers are alone anyway.
    """
    if session.get_bind().dialect.name == "postgresql":
        lock = func.pg_advisory_xact_lock if alone else func.pg_advisory_xact_lock_shared
        session.execute(select(lock(_VOCABULARY_LOCKS, func.hashtext(user_id))))


def owned_tags(session: Session, user_id: str, tag_ids: Sequence[str], field: str) -> list[Tag]:
    """The live tags with these ids. Raises InvalidInput when one is unknown or another person's."""
    wanted = set(tag_ids)
    if not wanted:
        return []
    lock_vocabulary(session, user_id, alone=False)
    query = select(Tag).where(Tag.user_id == user_id, Tag.id.in_(wanted), Tag.deleted_at.is_(None))
    found = list(session.scalars(query))
    if len(found) != len(wanted):
        raise InvalidInput("A tag id is unknown.", {"field": field, "rule": "unknown"})
    return found


def ensure_tags(session: Session, user_id: str, names: Iterable[str]) -> list[Tag]:
    """The person's tags of these names, made or revived where needed.

    One revived in this way, on another item, does not come back onto the items from which it was deleted.
    """
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
    deleted = select(Tag.id).where(Tag.user_id == user_id, Tag.name_key.in_(list(wanted)), Tag.deleted_at.is_not(None))
    session.execute(delete(ItemTag).where(ItemTag.tag_id.in_(deleted)))
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
    """Make `tags` the whole set that is linked to the item; a link that stays keeps its time."""
    wanted = {tag.id for tag in tags}
    linked = set(session.scalars(select(ItemTag.tag_id).where(ItemTag.item_id == item_id)))
    if linked - wanted:
        session.execute(delete(ItemTag).where(ItemTag.item_id == item_id, ItemTag.tag_id.in_(linked - wanted)))
    session.add_all(ItemTag(item_id=item_id, tag_id=tag_id) for tag_id in sorted(wanted - linked))


def apply_tags(session: Session, item: Item, patch: ItemPatch) -> tuple[list[str], list[str]]:
    """Bring the item's suggestions and links to what `patch` says; the item's new status is already set.

    The final set is `tags` if given, else what the item carries; with the accepted and the added, without the
    rejected. Returns the names carried before and after. Raises InvalidInput for an unknown id.
    """
    lock_vocabulary(session, item.user_id, alone=False)
    links = linked_tags(session, item.id)
    carried = _carried_names(item, [tag.name for tag in links])
    before = sorted(carried.values())
    by_id = {entry["id"]: entry["name"] for entry in item.suggestions}
    accepted = _keyed(_names_of(by_id, patch.accepted_suggestion_ids, "acceptedSuggestionIds"))
    rejected = _keyed(_names_of(by_id, patch.rejected_suggestion_ids, "rejectedSuggestionIds"))
    added_tags = owned_tags(session, item.user_id, patch.added_tag_ids, "addedTagIds")
    added = {tag.name_key: tag.name for tag in added_tags}
    if patch.tags is not None:
        carried = _keyed(clean_name(name, "tags") for name in patch.tags)
    final = {key: name for key, name in (accepted | carried | added).items() if key not in rejected}
    if patch.tags is not None:
        final |= _known_spellings(session, item.user_id, final)
    decided = patch.tags is not None or item.status == ItemStatus.ARCHIVED
    _store(session, item, final, accepted | added, decided=decided)
    return before, sorted(final.values())


def _store(session: Session, item: Item, final: dict[str, str], accepted: dict[str, str], *, decided: bool) -> None:
    """Split the final set into suggestions, which keep their own state, and links to the vocabulary."""
    suggestions = []
    for entry in item.suggestions:
        key = name_key(entry["name"])
        status = entry["status"]
        if key not in final:
            status = SuggestionStatus.REJECTED
        elif decided or key in accepted:
            status = SuggestionStatus.ACCEPTED
        suggestions.append({**entry, "name": final.get(key, entry["name"]), "status": status})
    suggested = {name_key(entry["name"]) for entry in suggestions}
    item.suggestions = suggestions
    archived = item.status == ItemStatus.ARCHIVED
    names = [name for key, name in final.items() if archived or key not in suggested]
    link_tags(session, item.id, ensure_tags(session, item.user_id, names))


def _known_spellings(session: Session, user_id: str, keys: Iterable[str]) -> dict[str, str]:
    """The vocabulary's own, of deleted tags too: `ensure_tags` would revive them as they were."""
    query = select(Tag.name_key, Tag.name).where(Tag.user_id == user_id, Tag.name_key.in_(list(keys)))
    return {row.name_key: row.name for row in session.execute(query)}


def _carried_names(item: Item, linked: Sequence[str]) -> dict[str, str]:
    names = _keyed(linked)
    if item.confirmed_at is None:
        for entry in item.suggestions:
            if entry["status"] != SuggestionStatus.REJECTED:
                names.setdefault(name_key(entry["name"]), entry["name"])
    return names


def reopen_suggestions(session: Session, item: Item) -> None:
    """Make what was accepted a proposal again; what the person added stays linked.

    An accepted one whose tag was renamed, merged or deleted meanwhile is not proposed again: what stands in its place
    stays linked, and the item goes on carrying what it carried.
    """
    lock_vocabulary(session, item.user_id, alone=False)
    links = {tag.name_key: tag for tag in linked_tags(session, item.id)}
    reopened = []
    for entry in item.suggestions:
        status = entry["status"]
        if links.pop(name_key(entry["name"]), None) is not None:
            status = SuggestionStatus.PENDING
        elif status == SuggestionStatus.ACCEPTED:
            status = SuggestionStatus.REJECTED
        reopened.append({**entry, "status": status})
    item.suggestions = reopened
    link_tags(session, item.id, list(links.values()))


def _names_of(by_id: dict[str, str], ids: Sequence[str], field: str) -> list[str]:
    try:
        return [by_id[suggestion_id] for suggestion_id in ids]
    except KeyError:
        raise InvalidInput("A suggestion id is unknown.", {"field": field, "rule": "unknown"}) from None


def _keyed(names: Iterable[str]) -> dict[str, str]:
    keyed: dict[str, str] = {}
    for name in names:
        keyed.setdefault(name_key(name), name)
    return keyed
