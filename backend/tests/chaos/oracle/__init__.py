"""The oracle: everything that must hold after a run, as functions from evidence to violations."""
