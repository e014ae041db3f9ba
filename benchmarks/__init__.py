"""The benchmark suite: Isobatch and its peers, each in a process of its own, asked in turn.

`python -m benchmarks` is the driver; README.md holds the protocol. The package `isobatch` knows
nothing of this folder, and only `engines/isobatch_engine.py` knows the package's face.
"""
