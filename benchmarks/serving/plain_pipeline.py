"""A common hand-written server: FastAPI around a `transformers` pipeline, one text a call.

Usage: python -m benchmarks.serving.plain_pipeline FOLDER PORT THREADS
"""

import sys
from typing import Any

import torch
import transformers
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class ClassifyRequest(BaseModel):
    """The texts to classify."""

    input: list[str]


def main() -> None:
    """Serve the checkpoint until the process is killed."""
    folder, port, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    classify = transformers.pipeline("text-classification", model=folder, top_k=None)
    app = FastAPI()

    @app.get("/health")
    def health() -> dict[str, str]:
        return {}

    @app.post("/classify")
    def predict(request: ClassifyRequest) -> Any:
        return classify(request.input, truncation=True)

    uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
