"""Tests of what the processes on one database share of their traffic."""
