"""Batching: encodings are planned into batches, packed without padding, and cached by content.

It exports no names: `plan` must be importable without torch, for `isobatch --help`.
"""
