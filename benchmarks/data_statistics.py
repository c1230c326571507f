"""What counting costs beside tokenizing: the statistics of documents and of tokens, on the demo's text and tokenizer.

    python -m benchmarks.data_statistics [--rounds 5]

One process on one thread: each round tokenizes all documents as the tokenize stage does (chunks of 1 MiB to flat files, and rows
of these), counts the documents as the download stage does, and counts the tokens as the tokenize stage does, one after the
other.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.common import PRESETS, Figure, interleave, machine, median_ratio, run_stage, write_results
from cluster.store import Store
from configs.artifact_ids import parse_ref
from configs.load import load_config
from configs.tokenize import TokenizeConfig
from sae.formats.dataset import DatasetReader
from sae.language_model import load_tokenizer
from sae.report.token_text import TokenText
from sae.text.distributions import coverage
from sae.text.document_statistics import DocumentStatistics
from sae.text.encoded_texts import segment_encoder
from sae.text.flat_tokens import count_ids, open_flat
from sae.text.packing import pack_shard
from sae.text.shard_layout import row_length, split_layouts, split_shards
from sae.text.token_counts import add_counts, most_frequent, pack_counts
from sae.text.tokenizer_spec import TokenizerSpec, read_tokenizer_spec
from tests.sae.tokenized_chunk import tokenize_chunk

MOST_PERCENT = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    os.environ["RAYON_NUM_THREADS"], os.environ["TOKENIZERS_PARALLELISM"] = "1", "false"
    refs = run_stage("tokenize", PRESETS / "tokenize.yaml")
    place, store = machine(), Store.open()
    inputs = store.files(parse_ref(refs[0], "tokens")).manifest.inputs
    config = load_config("tokenize", str(PRESETS / "tokenize.yaml"), [])
    assert isinstance(config, TokenizeConfig)
    tokenizer = load_tokenizer(store.files(parse_ref(inputs["model"], "models")).directory())
    spec = read_tokenizer_spec(tokenizer, config)
    reader = DatasetReader(store.files(parse_ref(inputs["dataset"], "datasets")))
    chunks = [reader.read(*chunk) for chunk in reader.chunks(config.chunk_bytes)]
    with tempfile.TemporaryDirectory(prefix="raylens-bench-") as folder:
        raw = _measure(chunks, spec, config, Path(folder), given.rounds)
    settings = {"documents": reader.info.documents, "text_bytes": reader.info.text_bytes, "rounds": given.rounds}
    write_results("data_statistics", "Counting beside tokenizing", _figures(raw), settings, raw, place)


def _measure(
    chunks: list[pa.Table], spec: TokenizerSpec, config: TokenizeConfig, folder: Path, rounds: int
) -> dict[str, Any]:
    documents = [
        list(zip(chunk.column("split").to_pylist(), chunk.column("text").to_pylist(), strict=True)) for chunk in chunks
    ]
    texts = TokenText(spec.tokenizer_json)

    def tokenize() -> None:
        segment_encoder.cache_clear()  # or the next round would know all segments
        counts = [tokenize_chunk(chunk, spec, folder / f"{number}.arrow") for number, chunk in enumerate(chunks)]
        flats = [open_flat(folder / f"{number}.arrow") for number in range(len(chunks))]
        layouts = split_layouts(counts, spec, config)
        for layout in layouts:
            for shard in split_shards(layout, config.rows_per_shard):
                length = row_length(layouts, config)
                pack_shard(shard, layout, flats.__getitem__, spec, length, config, folder / "rows.parquet")

    def count_documents(near: float | None = None) -> None:
        found = DocumentStatistics(near)
        for chunk in documents:
            for split, text in chunk:
                found.add(split, text)
        found.figures()

    def count_tokens() -> None:
        flats = [open_flat(folder / f"{number}.arrow") for number in range(len(chunks))]
        packed = [pack_counts(count_ids(flat.tokens, spec, len(flat.doc))) for flat in flats]
        total = add_counts(packed, spec.id_limit)
        coverage(total)
        most_frequent(total, texts)

    work = {
        "tokenize": tokenize,
        "count_documents": count_documents,
        "count_tokens": count_tokens,
        "count_documents_and_near": lambda: count_documents(0.8),
    }
    return {"seconds": interleave(work, rounds)}


def _figures(raw: dict[str, Any]) -> list[Figure]:
    seconds = raw["seconds"]
    both = [a + b for a, b in zip(seconds["count_documents"], seconds["count_tokens"], strict=True)]
    rows = [
        ("counting documents and tokens", both, True),
        ("counting documents", seconds["count_documents"], False),
        ("counting tokens", seconds["count_tokens"], False),
        ("counting documents, near duplicates too (on request)", seconds["count_documents_and_near"], False),
    ]
    figures = [
        Figure(
            "tokenizing (both passes, with their counts), one thread", f"{statistics.median(seconds['tokenize']):.2f} s"
        )
    ]
    for what, spent, aimed in rows:
        percent = 100 * median_ratio(spent, seconds["tokenize"])
        target = f"{MOST_PERCENT:g}%" if aimed else ""
        figures.append(
            Figure(f"{what}, of tokenizing", f"{percent:.1f}%", target, percent <= MOST_PERCENT if aimed else None)
        )
    return figures


if __name__ == "__main__":
    main()
