"""Batching: encodings are planned into batches, packed without padding, and cached by content.

Nothing is exported here: `plan` must be importable without torch, for `isobatch --help`.
"""
