"""Long work on rows: claim under a lease, run without a transaction, finish behind the fence."""
