"""The chaos run: real processes under load are killed, stopped and restarted; afterwards an oracle looks for
what was lost.

Start reading at `run.py`. What the oracle demands lies in `oracle/`, one module for each kind of promise; it
sees only evidence (`evidence.py`) and can be fed by hand.
"""
