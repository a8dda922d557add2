"""A real llama.cpp server with a tiny model of the test's own making. Left out where there is no such server."""
