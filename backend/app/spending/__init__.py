"""Money: what may be spent, what was, and who is told; the rows of the ledger are kept by `llm/ledger`."""
