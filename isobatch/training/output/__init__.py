"""Output: the calibrated model in its folder, with its card and report."""
