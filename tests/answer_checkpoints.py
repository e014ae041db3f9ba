"""A tiny language model that ranks texts by a token, with its tokenizer and its template."""

from pathlib import Path

import transformers
from tiny_checkpoints import Tiny, fill_randomly, tiny_config
from tokenizer_folders import write_qwen_folder

TEMPLATE = "<|im_start|>query {query}\nis a nice day {text}<|im_end|>\n<|im_start|>so "
ANSWERS = {"true_token": "y", "false_token": "n", "template": TEMPLATE}


def write_language_model(folder: Path, *, tied: bool, limit: int = 512) -> Path:
    """A ...ForCausalLM of Qwen3; tied: its output matrix is the table of words."""
    config = tiny_config(Tiny("qwen3"))
    config.tie_word_embeddings = tied
    model = transformers.AutoModelForCausalLM.from_config(config)
    fill_randomly(model).eval().save_pretrained(folder)
    return write_qwen_folder(folder, options={"model_max_length": limit})
