"""Steering the demo's model: time to the first token, tokens/s with both answers, and how near a budget of KL is hit.

    python -m benchmarks.steering [--features 50] [--tokens 48] [--budget 1.0]

The demo's own pipeline makes model, tokens, SAE and features, unless they are in the store. For each of the features that are
spread over densities, the dose for the budget is found on the model's own answer, and measured again by whole passes.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch

from benchmarks.common import PRESETS, Figure, machine, run_stage, threads_argument, write_results
from cluster.store import Store
from configs.artifact_ids import parse_ref
from configs.steering import Intervention, SteeringRequest
from sae.formats.features import FeaturesReader
from sae.formats.sae_folder import load_sae
from sae.language_model import LanguageModel
from sae.language_model.loading import load_tokenizer
from sae.report.token_text import TokenText
from sae.steering.errors import SteeringError
from sae.steering.run import Steerable, Steered, run

PROMPTS = ("The economy of the country depends on", "The capital of France is", "Once upon a time there was")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=50)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--budget", type=float, default=1.0)
    parser.add_argument("--threads", type=int, default=threads_argument())
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    environment = machine()
    features = parse_ref(run_stage("extract", PRESETS / "extract.yaml")[0])
    on, sae, latents = _prepared(Store.open(), features, given.features)
    speed = [_speed(on, sae, latents[i], prompt, given.tokens) for i in range(3) for prompt in PROMPTS]
    budgets = [_budget(on, sae, latent, given) for latent in latents]
    figures = _figures(speed, budgets, given)
    settings = {"features": given.features, "tokens": given.tokens, "budget": given.budget, "threads": given.threads}
    write_results(
        "steering", "Steering the demo's model", figures, settings, {"speed": speed, "budgets": budgets}, environment
    )


def _prepared(store: Store, features: Any, count: int) -> tuple[Steerable, str, list[int]]:
    reader = FeaturesReader(store.files(features))
    table = reader.features(["feature", "count", "max"]).to_pydict()
    alive = sorted((n, f) for f, n in zip(table["feature"], table["count"], strict=True) if n > 20)
    latents = [alive[i * (len(alive) - 1) // max(1, count - 1)][1] for i in range(count)]
    inputs = reader.info.inputs
    model, sae = store.files(parse_ref(inputs["model"])), inputs["sae"]
    lm = LanguageModel.load(model.directory(), "fp32")
    pieces = TokenText(model.path("tokenizer.json").read_text(encoding="utf-8"))
    maxima = {(sae, latent): table["max"][latent] for latent in latents}
    saes = {sae: load_sae(store.files(parse_ref(sae)).directory())}
    return Steerable(lm, load_tokenizer(model.directory()), pieces, saes, maxima), sae, latents


def _request(sae: str, latent: int, prompt: str, tokens: int, **fields: Any) -> SteeringRequest:
    change = Intervention(sae=sae, latent=latent, op="add", value=1.0, unit="max")
    return SteeringRequest(text=prompt, interventions=(change,), max_tokens=tokens, **fields)


def _speed(on: Steerable, sae: str, latent: int, prompt: str, tokens: int) -> dict[str, float]:
    start = time.perf_counter()
    first, made = 0.0, 0
    for item in run(on, _request(sae, latent, prompt, tokens)):
        if isinstance(item, Steered):
            made = max(len(answer.measured.ids) for answer in (item.unsteered, *item.steered))
        else:
            first = first or time.perf_counter() - start
    return {"first_s": first, "tokens_per_s": made / (time.perf_counter() - start)}


def _budget(on: Steerable, sae: str, latent: int, given: argparse.Namespace) -> dict[str, Any]:
    start = time.perf_counter()
    try:
        found = list(run(on, _request(sae, latent, PROMPTS[0], 24, kl_budget=given.budget)))[-1]
    except SteeringError as error:
        return {"latent": latent, "error": str(error)}
    assert isinstance(found, Steered) and found.budget is not None
    (answer,) = found.steered
    return {
        "latent": latent, "dose": found.budget[0], "kl": found.budget[1], "kl_of_the_answer": answer.measured.kl,
        "change": answer.measured.change, "perplexity": answer.measured.perplexity, "seconds": time.perf_counter() - start,
    }  # fmt: skip


def _figures(speed: list[dict[str, float]], budgets: list[dict[str, Any]], given: argparse.Namespace) -> list[Figure]:
    first = sorted(one["first_s"] for one in speed[1:])
    rate = statistics.median(one["tokens_per_s"] for one in speed[1:])
    hit = [one for one in budgets if "kl" in one and abs(one["kl"] / given.budget - 1) <= 0.1]
    seconds = statistics.median(one["seconds"] for one in budgets if "kl" in one)
    answer = statistics.median(one["kl_of_the_answer"] for one in budgets if "kl" in one)
    return [
        Figure(
            "first token of both answers, model in memory", f"median {statistics.median(first):.2f} s, longest {first[-1]:.2f}",
            "<= 1 s", first[-1] <= 1,
        ),
        Figure("unsteered and steered answer together", f"median {rate:.1f} tokens/s each", ">= 10", rate >= 10),
        Figure(
            f"features whose dose is within 10% of {given.budget:g} nats per token", f"{len(hit)} of {len(budgets)}",
            "all of 50", len(hit) == len(budgets),
        ),
        Figure("time of a whole request with a budget, 24 tokens", f"median {seconds:.1f} s"),
        Figure("KL per token of the steered answer itself; the dose was found on the unsteered", f"median {answer:.2f} nats"),
    ]  # fmt: skip


if __name__ == "__main__":
    main()
