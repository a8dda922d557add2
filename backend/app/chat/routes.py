"""POST /v1/chat/completions and GET /v1/models, as the official client expects them.

Who is calling is found as on every route, by `accounts/identity.py`; the `Authorization: Bearer` that the client
always sends says nothing until API keys join there.
"""

from collections.abc import AsyncGenerator
from functools import partial

from fastapi import APIRouter, Request, Response

from app import clock
from app.accounts.identity import CurrentUserId
from app.accounts.roles import CurrentRole, Role
from app.chat.schemas import ChatCompletion, ChatRequest, ModelList, ModelOut
from app.chat.wire import TASK, Chunks, call_of, completion_of, told
from app.database import new_id
from app.errors import LLMError
from app.llm.call import Call, Finished, Spender, StreamEvent
from app.llm.extraction import provider_of
from app.llm.gateway import Gateway
from app.llm.routing import TASK_PREFIX
from app.queries.asking import check_role
from app.queries.passing_on import SERVER_SENT, ClientGone, LiveResponse, unless_gone
from app.queries.routes import DeskOf

router = APIRouter(prefix="/v1", tags=["openai"])
_GONE = 499  # nobody reads it
_OURS = "litevault"


@router.post(
    "/chat/completions",
    response_model=ChatCompletion,
    responses={200: {"content": SERVER_SENT, "description": "The completion, or its chunks."}},
)
async def chat_completions(
    body: ChatRequest, request: Request, user_id: CurrentUserId, role: CurrentRole, *, desk: DeskOf
) -> Response:
    """A completion, whole or as a stream of chunks; nothing of it is stored but its lines on the books."""
    check_role(role, body.model, body.fallback_models)
    call_id = new_id()
    spender = Spender(user_id=user_id, lane=TASK, row_id=call_id)
    privacy = await desk.asker.privacy_of(user_id)
    call = call_of(body, spender, privacy, desk.asker.deadline_seconds)
    created = clock.utc_now()
    ask = desk.gateway.stream if body.stream else partial(_whole, desk.gateway)
    live = await desk.live.begin_chat(user_id, call_id, lambda: ask(call))
    try:
        if body.stream:
            first = await unless_gone(request, live, live.next)
            with_usage = body.stream_options is not None and body.stream_options.include_usage
            return LiveResponse(live, Chunks(live, created, body.model, with_usage).of(first))
        finished = await unless_gone(request, live, live.finished)
    except LLMError as fault:
        raise told(fault) from fault
    except ClientGone:
        return Response(status_code=_GONE)
    answer = completion_of(live.id, created, finished.completion)
    return Response(answer.model_dump_json(), media_type="application/json")


@router.get("/models")
async def list_models(_user_id: CurrentUserId, role: CurrentRole, desk: DeskOf) -> ModelList:
    """The tasks, whose plans are everybody's; for operators also the models that are set up."""
    names = [(f"{TASK_PREFIX}{task}", _OURS) for task in desk.gateway.tasks]
    if role >= Role.OPERATOR:
        names += [(name, provider_of(name)) for name in desk.gateway.known_models()]
    return ModelList(data=[ModelOut(id=name, owned_by=owner) for name, owner in names])


async def _whole(gateway: Gateway, call: Call) -> AsyncGenerator[StreamEvent]:
    yield Finished(await gateway.complete(call))
