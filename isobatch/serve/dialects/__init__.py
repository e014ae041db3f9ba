"""Dialects: the words in which clients of other servers ask, one file each.

Each translates a request into texts for the Engine, and its Answer back; none computes anything.
"""

from isobatch.serve.dialects.classify import dialect as classify
from isobatch.serve.dialects.inference import dialect as inference
from isobatch.serve.dialects.predict import dialect as predict

DIALECTS = (predict, inference, classify)
"""In the order of the documentation."""
