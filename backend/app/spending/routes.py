"""The routes of the budgets: operators see them, admins set them."""

from functools import partial

from fastapi import APIRouter, Request

from app.accounts.roles import Role, requires
from app.errors import InvalidInput
from app.spending import service
from app.spending.budget import Scope
from app.spending.known_budgets import KnownBudgets
from app.spending.schemas import BudgetOut, BudgetsIn, BudgetsOut
from app.spending.service import Standing
from app.web import DatabaseOf, declared_errors

router = APIRouter(
    prefix="/admin/budgets", tags=["budgets"], dependencies=[requires(Role.OPERATOR)], responses=declared_errors(403)
)


@router.get("")
async def get_budgets(database: DatabaseOf) -> BudgetsOut:
    """Each budget, what is spent of it in the period that runs now, and when the next begins (UTC)."""
    return _out(await database.read(service.standings))


@router.put("", dependencies=[requires(Role.ADMIN)], responses=declared_errors(400))
async def put_budgets(body: BudgetsIn, request: Request, database: DatabaseOf) -> BudgetsOut:
    """These and no others. They hold at once, for what was spent in the running periods too; waiting items go on."""
    budgets = [entry.to_budget() for entry in body.budgets]
    if any((budget.subject == "") is not (budget.scope is Scope.SYSTEM) for budget in budgets):
        sentence = "budgets: each needs a subject, unless its scope is system, and none then."
        raise InvalidInput(sentence, {"field": "budgets.subject", "rule": "scope"})
    if len({(budget.scope, budget.subject, budget.period) for budget in budgets}) < len(budgets):
        raise InvalidInput("budgets: two of them are for the same.", {"field": "budgets", "rule": "duplicate"})
    waiting = request.app.state.waiting_rows
    await database.write(partial(service.replace_budgets, budgets=budgets, waiting=waiting))
    known: KnownBudgets = request.app.state.known_budgets
    await known.refresh()
    return _out(await database.read(service.standings))


def _out(found: list[Standing]) -> BudgetsOut:
    return BudgetsOut(
        budgets=[
            BudgetOut(
                scope=entry.budget.scope,
                subject=entry.budget.subject or None,
                period=entry.budget.period,
                limit_usd=entry.budget.limit_usd,
                alert_percents=list(entry.budget.alert_percents),
                alerts_only=not entry.budget.is_hard,
                used_usd=entry.spent_usd,
                reset_at=entry.resets_at,
            )
            for entry in found
        ]
    )
