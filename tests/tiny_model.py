"""A tiny GPT-2 that is really trained: 3 layers, d 48, 640 byte-level BPE tokens, on sentences of a small grammar.

Nothing is read from outside: text, tokenizer and weights follow from the recipe below and its seed.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import tempfile
from pathlib import Path

RECIPE: dict[str, int | float] = {
    "version": 1,
    "documents": 1200,
    "seed": 0,
    "vocab": 640,
    "layers": 3,
    "d_model": 48,
    "heads": 4,
    "context": 128,
    "steps": 240,
    "batch": 16,
    "row": 64,
    "lr": 4e-3,
}

_TOPICS: dict[str, dict[str, list[str]]] = {
    "kitchen": {
        "who": ["the cook", "the baker", "my aunt", "the old waiter"],
        "does": ["stirs", "bakes", "slices", "salts", "serves"],
        "what": ["the onion soup", "a loaf of rye bread", "the apple pie", "two fresh eggs", "the lentil stew"],
        "where": ["in the warm kitchen", "beside the oven", "at the long table"],
    },
    "harbour": {
        "who": ["the captain", "a young sailor", "the pilot", "the fisherman"],
        "does": ["steers", "anchors", "paints", "repairs", "unloads"],
        "what": ["the grey boat", "a broken mast", "the herring nets", "three wooden crates", "the small ferry"],
        "where": ["in the harbour", "near the lighthouse", "under the north pier"],
    },
    "school": {
        "who": ["the teacher", "a quiet pupil", "the headmaster", "the librarian"],
        "does": ["reads", "explains", "copies", "corrects", "forgets"],
        "what": ["the long poem", "a hard sum", "the map of rivers", "the history lesson", "seven questions"],
        "where": ["in the classroom", "on the blackboard", "behind the library"],
    },
    "weather": {
        "who": ["the storm", "a cold wind", "the morning fog", "the summer rain"],
        "does": ["covers", "shakes", "cools", "hides", "floods"],
        "what": ["the green valley", "every tall tree", "the market square", "the narrow road", "the stone bridge"],
        "where": ["before sunrise", "all through March", "from the western hills"],
    },
}
_NAMES = ["Anna", "Boris", "Clara", "Daniel", "Elena", "Felix", "Greta", "Hugo"]
_LINKS = ["Then", "After that", "Meanwhile", "Because of this", "However,", "In the end"]


def documents(count: int, seed: int = 0) -> list[str]:
    """`count` short documents of 3 to 12 sentences, each about one topic. The same for the same seed."""
    rng = random.Random(seed)
    return [_document(rng) for _ in range(count)]


def _document(rng: random.Random) -> str:
    topic = rng.choice(sorted(_TOPICS))
    name = rng.choice(_NAMES)
    sentences = [f"{name} wrote about the {topic} on day {rng.randint(1, 31)} of {rng.randint(1900, 1999)}."]
    for _ in range(rng.randint(2, 11)):
        words = {key: rng.choice(values) for key, values in _TOPICS[topic].items()}
        clause = f"{words['who']} {words['does']} {words['what']} {words['where']}"
        form = rng.randrange(4)
        if form == 0:
            sentences.append(f"{clause[0].upper()}{clause[1:]}.")
        elif form == 1:
            sentences.append(f"{rng.choice(_LINKS)} {clause}.")
        elif form == 2:
            sentences.append(f'"I think {clause}," said {name}.')
        else:
            sentences.append(f"{name} saw that {clause}, and it cost {rng.randint(2, 99)} coins.")
    return " ".join(sentences)


def build(folder: Path) -> None:
    """Trains the tokenizer and the model (about 10 s on one thread) and writes a Hugging Face folder."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    r = RECIPE
    texts = documents(int(r["documents"]), int(r["seed"]))
    tokenizer = _tokenizer(texts)
    eos = tokenizer.token_to_id("<|endoftext|>")
    stream = torch.tensor([i for e in tokenizer.encode_batch(texts) for i in [*e.ids, eos]])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(r["seed"]))
        model = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=tokenizer.get_vocab_size(),
                n_positions=int(r["context"]),
                n_embd=int(r["d_model"]),
                n_layer=int(r["layers"]),
                n_head=int(r["heads"]),
                bos_token_id=eos,
                eos_token_id=eos,
                resid_pdrop=0.0,
                embd_pdrop=0.0,
                attn_pdrop=0.0,
            )
        )
        _fit(model, stream)
    torch.set_num_threads(threads)
    model.eval().save_pretrained(folder)
    _fast(tokenizer, int(r["context"])).save_pretrained(folder)


def _tokenizer(texts: list[str]):  # type: ignore[no-untyped-def]
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=int(RECIPE["vocab"]),
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _fast(tokenizer, context: int):  # type: ignore[no-untyped-def]
    from transformers import PreTrainedTokenizerFast

    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=end, eos_token=end, unk_token=end, model_max_length=context
    )


def _fit(model, stream) -> None:  # type: ignore[no-untyped-def]
    import torch

    r = RECIPE
    steps, row = int(r["steps"]), int(r["row"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=float(r["lr"]), betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, float(r["lr"]), total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        starts = torch.randint(len(stream) - row, (int(r["batch"]),))
        rows = torch.stack([stream[s : s + row] for s in starts.tolist()])
        loss = model(rows, labels=rows, use_cache=False).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()


def cached(root: Path) -> Path:
    """The model's folder below `root`, built if this recipe is not there yet. Safe against concurrent builders."""
    key = hashlib.sha256(json.dumps(RECIPE, sort_keys=True).encode() + Path(__file__).read_bytes()).hexdigest()[:16]
    folder = root / f"tiny-gpt2-{key}"
    if folder.is_dir():
        return folder
    root.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="tiny-gpt2-", dir=root))
    build(work)
    try:
        os.rename(work, folder)  # atomic: the folder is there whole or not at all
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(work)  # somebody else was first
    return folder
