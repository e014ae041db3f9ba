"""A client of `isobatch serve`: waits until it is healthy, then classifies lines in batches.

Run: `pip install httpx`, then `python client.py http://127.0.0.1:8000 < texts.txt`.
"""

import sys
import time
from collections.abc import Iterable, Iterator

import httpx

BATCH = 32
"""Texts of a request; /info has the server's `max_client_batch_size`."""


def main(url: str, lines: Iterable[str]) -> None:
    texts = [line.rstrip("\n") for line in lines]
    # With --api-key: headers={"authorization": "Bearer KEY"}.
    with httpx.Client(base_url=url, timeout=120) as client:
        wait_until_healthy(client)
        for text, best in zip(texts, classify(client, texts), strict=True):
            print(f"{best['label']}\t{best['score']:.4f}\t{text}")


def wait_until_healthy(client: httpx.Client, seconds: float = 60) -> None:
    """Return once a server has loaded its model. Raises TimeoutError after some seconds."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if client.get("/health").is_success:
                return
        except httpx.TransportError:
            pass  # does not listen yet
        time.sleep(0.5)
    raise TimeoutError(f"{client.base_url} is not healthy after {seconds:g} s")


def classify(client: httpx.Client, texts: list[str]) -> Iterator[dict[str, object]]:
    """Yield the best label of each text with its score, in order."""
    for start in range(0, len(texts), BATCH):
        rows = post(client, "/predict", {"inputs": texts[start : start + BATCH]})
        yield from (row[0] for row in rows)


def post(client: httpx.Client, path: str, body: dict[str, object], tries: int = 5) -> list:
    """Send a request, again while servers are overloaded or restart. Raises what httpx raises."""
    for left in reversed(range(tries)):
        response = client.post(path, json=body)
        if response.status_code not in (429, 502, 503) or not left:
            break
        time.sleep(float(response.headers.get("retry-after", 1)))
    if response.is_client_error:
        print(response.json()["error"], file=sys.stderr)  # says how to fix it
    return response.raise_for_status().json()


if __name__ == "__main__":
    main(sys.argv[1], sys.stdin)
