"""The routes of a person's vocabulary."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.accounts.identity import CurrentUserId
from app.items import tag_service
from app.items.schemas import TagCreate, TagMerge, TagOut, TagPatch, TagsOut
from app.items.tag_service import TagSort
from app.web import DatabaseOf, Id, Text, declared_errors

router = APIRouter(prefix="/tags", tags=["tags"])


@router.get("")
async def list_tags(
    user_id: CurrentUserId,
    database: DatabaseOf,
    *,
    q: Annotated[Text, Query(max_length=50)] = "",
    sort: TagSort = TagSort.NAME,
    unused: bool = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> TagsOut:
    """The vocabulary; `unused=true` shows only tags that no confirmed item carries."""
    tags, total = await database.read(
        partial(
            tag_service.list_tags,
            user_id=user_id,
            words=q.strip(),
            sort=sort,
            only_unused=unused,
            limit=limit,
        )
    )
    return TagsOut(tags=tags, total=total)


@router.post(
    "",
    status_code=201,
    responses={200: {"model": TagOut, "description": "The tag was there already."}, **declared_errors(400)},
)
async def create_tag(body: TagCreate, response: Response, user_id: CurrentUserId, database: DatabaseOf) -> TagOut:
    """201 for a tag that is new or came back, 200 for one that was there, in whatever case it is written."""
    tag, is_new = await database.write(partial(tag_service.create_tag, user_id=user_id, request=body))
    if not is_new:
        response.status_code = 200
    return tag


@router.post("/merge", responses=declared_errors(400))
async def merge_tags(body: TagMerge, user_id: CurrentUserId, database: DatabaseOf) -> TagOut:
    """Put the target in the place of the sources on every item, and delete the sources."""
    return await database.write(
        partial(
            tag_service.merge_tags,
            user_id=user_id,
            source_ids=body.source_tag_ids,
            target_id=body.target_tag_id,
        )
    )


@router.patch("/{tag_id}", responses=declared_errors(400, 404, 409))
async def change_tag(tag_id: Id, body: TagPatch, user_id: CurrentUserId, database: DatabaseOf) -> TagOut:
    """Rename or recolour; every item that carries the tag shows it so."""
    return await database.write(partial(tag_service.change_tag, user_id=user_id, tag_id=tag_id, patch=body))


@router.delete("/{tag_id}", status_code=204, responses=declared_errors(404))
async def delete_tag(tag_id: Id, user_id: CurrentUserId, database: DatabaseOf) -> None:
    """Take the tag off every item; made again under its name, it comes back onto them."""
    await database.write(partial(tag_service.delete_tag, user_id=user_id, tag_id=tag_id))
