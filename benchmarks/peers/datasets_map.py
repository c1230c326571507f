"""Tokenizes documents with Hugging Face datasets: map(batched, num_proc=2), rows of one length, save_to_disk.

    python -m benchmarks.peers.datasets_map TEXT.jsonl MODEL_FOLDER OUT ROW_TOKENS

As transformers' example run_clm does it: one map tokenizes, a second one joins the documents of a batch and cuts them into
rows. Prints the tokens of the rows as JSON.
"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from itertools import chain
from typing import Any

PROCESSES = 2


def main() -> None:
    load_dataset = import_module("datasets").load_dataset  # among requirements-peers.txt
    from transformers import AutoTokenizer

    text, model, out, length = *sys.argv[1:4], int(sys.argv[4])
    tokenizer = AutoTokenizer.from_pretrained(model)
    documents = load_dataset("json", data_files=text, split="train", cache_dir=f"{out}-cache")

    def encode(batch: dict[str, list[str]]) -> Any:
        return tokenizer([one + tokenizer.eos_token for one in batch["text"]])

    def group(batch: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
        joined = {name: list(chain(*values)) for name, values in batch.items()}
        total = len(joined["input_ids"]) // length * length
        return {name: [values[i : i + length] for i in range(0, total, length)] for name, values in joined.items()}

    encoded = documents.map(encode, batched=True, num_proc=PROCESSES, remove_columns=documents.column_names)
    rows = encoded.map(group, batched=True, num_proc=PROCESSES)
    rows.save_to_disk(out)
    print(json.dumps({"tokens": len(rows) * length}))


if __name__ == "__main__":
    main()
