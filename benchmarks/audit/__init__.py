"""Tiny checkpoints of many architectures in transformers, and the audit of each."""
