"""What a vendor says it counted is believed only where it can be a count."""

from decimal import Decimal

import pytest

from app.llm.extraction import ModelFacts
from app.llm.vendors.answer import usage_at

FACTS = ModelFacts("openai", input_price_usd=Decimal(1), output_price_usd=Decimal(1))


@pytest.mark.parametrize("count", [-1, 2**31, 10**20, 1.5, "12", True, None, float("nan")])
def test_a_count_that_cannot_be_one_is_unknown(count: object) -> None:
    usage = usage_at(FACTS, count, 7)
    assert (usage.input_tokens, usage.output_tokens, usage.cost_usd) == (None, 7, None)
