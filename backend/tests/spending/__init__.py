"""Money: budgets, counters, alerts, quotas, reports, against a real database."""
