"""The routes, one file for each API they are compatible with, and the server's own status.

An inference route reads texts for the engine and formats its result; none computes anything.
"""

from isobatch.serve.routes.hugging_face import ROUTES as HUGGING_FACE
from isobatch.serve.routes.status import ROUTES as STATUS
from isobatch.serve.routes.tei import ROUTES as TEI
from isobatch.serve.routes.vllm import ROUTES as VLLM

API_ROUTES = (*TEI, *HUGGING_FACE, *VLLM, *STATUS)
"""In the order of the documentation."""
