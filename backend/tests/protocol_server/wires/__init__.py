"""One module for each vendor's wire, each with the names of `wire.Wire`."""
