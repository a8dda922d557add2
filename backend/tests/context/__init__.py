"""Tests of what a model is shown: counts, windows, fitting, compression, assembly."""
