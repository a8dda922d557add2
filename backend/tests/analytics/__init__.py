"""Analytics: each figure against items and calls whose fate is known."""
