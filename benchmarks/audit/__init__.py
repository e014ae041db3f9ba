"""Tiny checkpoints of many architectures, and an experiment on them that does not use the audit.

`architectures.py` writes the folders, `python -m benchmarks.audit.claims` runs the experiment. The
audit is held to what the experiment finds; so nothing here imports `isobatch`.
"""
