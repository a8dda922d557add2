"""The tests, in the order of the tree they test, and the stand-ins they need."""
