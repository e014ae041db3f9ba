"""Tiny checkpoints of many architectures, their audits, and an experiment that uses no audit.

`architectures.py` writes the folders, `audits.py` audits them, `claims.py` runs the experiment. The
audit is held to what the experiment finds; so nothing but `audits.py` imports `isobatch`.
"""
