"""Data: labelled texts, the scheme of their labels, and the split that a training is made of."""
