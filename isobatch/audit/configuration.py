"""Failures without any batch: texts that fail alone as well, and pads without embedding.

Invariant: a batch is said to fail only if each of its texts was accepted alone, just now.
"""

from collections.abc import Sequence

from isobatch.audit.session import (
    AuditSession,
    BatchFailedError,
    Probe,
    ProbeOutcome,
    in_one_line,
)

MOST_CHARACTERS = 200
"""Of an error in a summary."""


TEXTS_ALONE = Probe(
    "texts-alone",
    changes="nothing: each text is sent by itself",
    proves="the system accepts every text; this is in a report only if it does not",
    run=lambda session: ProbeOutcome("exact", f"{len(session.texts)} texts are accepted"),
)


def explain_failure(session: AuditSession, error: BatchFailedError) -> ProbeOutcome | None:
    """Return why a batch fails that has nothing to do with the batch; None if only it fails."""
    for text in dict.fromkeys(error.texts):
        try:
            session.predict([text])
        except BatchFailedError as alone:
            return explain_texts(session, [alone])
    return explain_pad(session) if len(error.texts) > 1 else None


def explain_texts(session: AuditSession, errors: Sequence[BatchFailedError]) -> ProbeOutcome:
    """Return the outcome for texts that fail alone; it names each cause with its first text."""
    causes: dict[str, str] = {}
    for error in errors:
        (text,) = error.texts
        name, why = _cause(session, text)
        shown = text if len(text) <= 60 else f"{text[:57]}..."
        reason = in_one_line(error, MOST_CHARACTERS)
        causes.setdefault(name, f"the text {shown!r} fails alone as well: {reason}{why}")
    summary = "; ".join(causes.values())
    if len(errors) > 1:
        summary = f"{len(errors)} texts fail alone, and the other probes leave them out: {summary}"
    return ProbeOutcome("configuration", summary, faults=tuple(causes))


def explain_pad(session: AuditSession) -> ProbeOutcome | None:
    """Return the outcome for a padding token that has no embedding; None if it has one."""
    model = session.subject.padded
    if model is None or model.num_ids is None or model.pad_id < model.num_ids:
        return None
    summary = f"the padding token has the id {model.pad_id}, the model {model.num_ids} embeddings"
    return ProbeOutcome("configuration", summary, faults=("pad-id-beyond-table",))


def _cause(session: AuditSession, text: str) -> tuple[str, str]:
    model = session.subject.padded
    try:
        ids = [] if model is None else model.encode(text)
    except Exception:  # noqa: BLE001  # the system's own error is reported
        return "text-fails", ""
    if model is None or not ids:
        return "text-fails", ""
    if model.num_ids is not None and max(ids) >= model.num_ids:
        why = f"; it has the token id {max(ids)}, the model {model.num_ids} embeddings"
        return "ids-beyond-table", why
    if model.max_tokens is not None and len(ids) > model.max_tokens:
        return "too-few-positions", (
            f"; it has {len(ids)} tokens, the model {model.max_tokens} positions. Write "
            f'"model_max_length": {model.max_tokens} into tokenizer_config.json'
        )
    return "text-fails", ""
