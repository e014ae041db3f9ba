"""The routes, one file for each API they are compatible with, and the server's own status.

An inference route reads texts for the engine and formats its result; none computes anything.
"""

from isobatch.serve.routes.cohere import ROUTES as COHERE
from isobatch.serve.routes.hugging_face import ROUTES as HUGGING_FACE
from isobatch.serve.routes.hugging_face_tokens import ROUTES as HUGGING_FACE_TOKENS
from isobatch.serve.routes.hugging_face_zero_shot import ROUTES as HUGGING_FACE_ZERO_SHOT
from isobatch.serve.routes.openai import ROUTES as OPENAI
from isobatch.serve.routes.status import ROUTES as STATUS
from isobatch.serve.routes.tei import ROUTES as TEI
from isobatch.serve.routes.tei_embed import ROUTES as TEI_EMBED
from isobatch.serve.routes.vllm import ROUTES as VLLM

API_ROUTES = (
    *TEI,
    *HUGGING_FACE_ZERO_SHOT,
    *HUGGING_FACE,
    *HUGGING_FACE_TOKENS,
    *TEI_EMBED,
    *COHERE,
    *OPENAI,
    *VLLM,
    *STATUS,
)
"""In the order of the documentation; of two at one path, the first that fits the model answers."""
