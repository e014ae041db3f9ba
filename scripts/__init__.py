"""Scripts that trained the bundled model and that generate the documentation."""
