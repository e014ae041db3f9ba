"""The options of `isobatch audit` that no other command has.

It imports nothing heavy, so that `--help` answers at once.
"""

from pathlib import Path
from typing import Annotated, Literal

import typer

Target = Annotated[
    str | None,
    typer.Argument(
        metavar="[TARGET]",
        envvar="ISOBATCH_MODEL",
        help="A checkpoint folder or a hub id, run by Isobatch; transformers:PATH_OR_ID, run by "
        "Hugging Face; onnx:FILE, by ONNX Runtime; http://..., a server; python:module:function, "
        "from a list of texts to a row of logits or scores for each. The bundled model if absent.",
    ),
]
Texts = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Texts to ask, one a line, or - for stdin; blank lines are left out. Ours if absent.",
    ),
]
Tokenizer = Annotated[
    str | None,
    typer.Option(
        metavar="PATH_OR_ID",
        help="The tokenizer of an onnx: or transformers: target; the one beside it if absent.",
    ),
]
AuditPrecision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        envvar="ISOBATCH_PRECISION",
        help="fp32 or bf16; besides int8 and auto where Isobatch computes, fp16 for transformers:. "
        "The checkpoint's own if absent.",
    ),
]
Dialect = Annotated[
    str | None,
    typer.Option(
        help="How a server is asked: tei, vllm or hf; found out by its path, or by trying."
    ),
]
SentApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        envvar="ISOBATCH_API_KEY",
        show_envvar=True,
        help="Send it to a server: Authorization: Bearer KEY. Other users of the machine can read "
        "what stands on a command line; the environment variable they cannot.",
    ),
]
Quick = Annotated[bool, typer.Option("--quick", help="Fewer texts and tries: less is found.")]
FailOn = Annotated[
    Literal["bug", "drift"],
    typer.Option(help="The least fault that ends the command with exit code 1."),
]
Html = Annotated[
    Path | None, typer.Option(help="Write a page with pictures there; it needs no network.")
]
Junit = Annotated[
    Path | None, typer.Option(help="Write JUnit XML there: a test case for each probe.")
]
ListProbes = Annotated[
    bool, typer.Option("--list", help="Show all probes, what each changes and proves, and stop.")
]
