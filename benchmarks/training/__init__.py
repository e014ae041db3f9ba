"""The speed and memory of a training compared with `transformers`' Trainer, and its accuracy."""
