"""Every family in the shape of a known checkpoint: parity, changed bits, speed (docs/models.md)."""
