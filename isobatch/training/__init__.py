"""Training: a classifier from labelled texts, in which the batch changes no gradient.

Invariant: the trained weights are a function of base, data, recipe and library versions: the same
bytes for any number of threads, and however often a run was stopped and resumed.
"""
