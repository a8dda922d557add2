"""Faults: `table.py` names them all, `plan.py` is what they edit, `upstream.py` and `content.py` are the
edits.
"""
