"""Questions that people and programs put to a model: queued, waited for or streamed, each a row of the second lane."""
