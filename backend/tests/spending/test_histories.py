"""After any history of openings, settlements, doubts and changes of budgets the counters are the sums of the ledger."""

import asyncio
import random
from dataclasses import replace
from decimal import Decimal

import pytest

from app.llm.attempts import Attempt, AttemptOutcome
from app.llm.ledger import statements as ledger
from app.spending.budget import Period
from tests.spending.till import CENT, EACH_DAY, SYSTEM_DAY, Till

PEOPLE = ("ann", "bob", "cid")
BUDGETS = [
    [replace(SYSTEM_DAY, limit_usd=Decimal("0.20")), replace(EACH_DAY, limit_usd=Decimal("0.15"))],
    [replace(SYSTEM_DAY, limit_usd=Decimal("0.30")), replace(EACH_DAY, period=Period.MONTH)],
    [replace(SYSTEM_DAY, is_hard=False), EACH_DAY],
]


async def check(till: Till) -> None:
    spent = await till.spent()
    for key, counted in spent.items():
        name = next((who for who in PEOPLE if key.endswith(till.accounts[who].user_id)), None)
        assert counted == await till.ledger_sum(name), key


@pytest.mark.parametrize("seed", range(6))
async def test_the_counters_are_the_sums_of_the_ledger(till: Till, seed: int) -> None:
    chance = random.Random(seed)
    for who in PEOPLE:
        await till.account(who)
    opened: list[Attempt] = []

    async def step() -> None:
        match chance.randrange(8):
            case 0:
                await till.budget(*chance.choice(BUDGETS))
            case 1:
                row_id = (await till.account(chance.choice(PEOPLE))).id
                await till.database.write(lambda session: ledger.doubt(session, [row_id]))
            case 2 | 3 | 4 if opened:
                attempt = opened.pop(chance.randrange(len(opened)))
                known = chance.random() < 0.7
                outcome = AttemptOutcome.OK if known else AttemptOutcome.ERROR
                await till.settle(attempt, CENT * chance.randrange(1, 200) / 100 if known else None, outcome)
            case _:
                made = await till.open(chance.choice(PEOPLE), CENT * chance.randrange(1, 4))
                opened.extend([made] if made else [])

    for _ in range(12):
        await asyncio.gather(*(step() for _ in range(6)))
        await check(till)
    await till.budget(*BUDGETS[0])
    await check(till)
