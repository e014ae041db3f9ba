"""Isobatch: batched inference for text classifiers in which the batch never changes the answer."""
