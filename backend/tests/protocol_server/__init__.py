"""A fake upstream for tests, benchmarks and chaos runs: real sockets, OpenAI's wire, faults on demand.

Start reading at `server.py`; `faults/table.py` names the faults. Nothing here may import from `app`: the fake
must not agree with the program by sharing its code.
"""
