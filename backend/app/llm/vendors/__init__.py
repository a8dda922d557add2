"""The vendors' side: one client on a thread of its own, and what it takes to ask, to read and to tell faults apart."""
