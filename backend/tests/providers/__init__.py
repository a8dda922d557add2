"""Tests of the providers: routes, vault, addresses, registry, health."""
