"""Money: what may be spent, what was, and who is told; the ledger's rows themselves are kept by `llm/ledger.py`."""
