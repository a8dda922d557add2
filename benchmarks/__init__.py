"""Measurements side by side: each figure against its bound, taken in the same run on the same machine."""
