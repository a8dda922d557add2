"""The measurements, one a module, each a coroutine from a `Run` to its figures."""
