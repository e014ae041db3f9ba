"""The audit of a training step: the gradient of a batch must be the mean of its texts' gradients.

A step is a function from texts and labels to the gradient that it would apply. Invariant: a text's
own gradient, computed alone by the same step, is the only reference.
"""
