"""The routes of what became of calls and proposals: for operators, in counts alone."""

from fastapi import APIRouter
from sqlalchemy.orm import Session

from app.accounts.roles import Role, requires
from app.analytics.prompt_performance import PromptPerformance, performance_of
from app.prompts.template import PromptId
from app.prompts.versions import live_prompt, newest_version
from app.web import DatabaseOf, declared_errors

router = APIRouter(tags=["prompts"], dependencies=[requires(Role.OPERATOR)], responses=declared_errors(403))


@router.get("/llm/prompts/{prompt_id}/performance", responses=declared_errors(404))
async def get_prompt_performance(prompt_id: PromptId, database: DatabaseOf) -> PromptPerformance:
    """What the calls of each version took, and how people received its proposals, with the number of decisions."""

    def read(session: Session) -> PromptPerformance:
        newest = newest_version(session, live_prompt(session, prompt_id).id)
        return performance_of(session, prompt_id, list(range(1, newest + 1)))

    return await database.read(read)
