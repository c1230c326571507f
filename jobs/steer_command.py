"""`python -m jobs steer`: a language model's answer without and with changes of features, and what the changes did."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import ValidationError

from configs.artifact_ids import ArtifactRef, parse_ref
from configs.load import ConfigError
from configs.steering import Op, SteeringRequest, Unit
from configs.validation_errors import fault_lines

if TYPE_CHECKING:
    from cluster.store import Store
    from sae.steering.run import AnswerText, Steerable, Steered


def steer_arguments(parser: argparse.ArgumentParser) -> None:
    """One change on the command line, or a whole request from a file."""
    parser.add_argument("sae", metavar="saes/ID", nargs="?", help="the SAE that has the feature")
    parser.add_argument("--latent", type=int, metavar="N", help="the feature")
    parser.add_argument("--op", choices=get_args(Op), default="add", help="what is done (default: add)")
    parser.add_argument("--value", type=float, help="the strength, in --unit; a factor for scale")
    parser.add_argument(
        "--unit", choices=get_args(Unit), default="raw",
        help="raw: of activations; max: the feature's largest activation; norm: the length of the activations (default: raw)",
    )  # fmt: skip
    parser.add_argument("--text", help="the prompt")
    parser.add_argument(
        "--dose", type=float, action="append", help="so many times the change; may be repeated: a curve"
    )
    parser.add_argument("--kl-budget", type=float, metavar="NATS", help="choose the dose by its mean KL per token")
    parser.add_argument("--max-tokens", type=int, default=48, help="of the answer (default: 48)")
    parser.add_argument("--temperature", type=float, default=0.0, help="0: always the most probable token (default: 0)")
    parser.add_argument("--seed", type=int, default=0, help="of sampling (default: 0)")
    parser.add_argument(
        "--request",
        metavar="FILE.json",
        help="the whole request instead, as POST /v1/text/steer takes it; - for standard input",
    )


def steer(given: argparse.Namespace) -> dict[str, Any]:
    """The answers on standard error, all that was measured as JSON on standard output."""
    from cluster.store import Store
    from sae.steering.run import run

    request = _request(given)
    answers = list(run(_steerable(Store.open(), request), request))[-1]
    found: Steered = answers  # type: ignore[assignment]  # the last one is all answers
    _show("without a change", found.unsteered)
    plain = found.unsteered.measured.perplexity
    for answer in found.steered:
        measured = answer.measured
        problem = "" if measured.problem is None else f"; it breaks off: {measured.problem}"
        _show(
            f"dose {measured.dose:g}: KL {_figure(measured.kl)} nats per token, |change|/|activation| {measured.change:.3g} at "
            f"{measured.positions} positions, perplexity {_figure(measured.perplexity)} (without {_figure(plain)}){problem}",
            answer,
        )
    budget = None if found.budget is None else {"dose": found.budget[0], "kl": found.budget[1]}
    return {
        "prompt": found.prompt,
        "unsteered": _plain(found.unsteered),
        "steered": [_plain(answer) for answer in found.steered],
        "budget": budget,
    }


def _request(given: argparse.Namespace) -> SteeringRequest:
    if given.request is not None:
        text = sys.stdin.read() if given.request == "-" else Path(given.request).read_text(encoding="utf-8")
        try:
            return _validated(json.loads(text), given.request)
        except json.JSONDecodeError as error:
            raise ConfigError(f"{given.request} is not JSON: {error}") from None
    if given.sae is None or given.latent is None or given.text is None:
        raise ValueError("give an SAE with --latent and --text, or --request FILE.json")
    change = {"sae": given.sae, "latent": given.latent, "op": given.op, "value": given.value, "unit": given.unit}
    body = {
        "text": given.text, "interventions": [change], "doses": given.dose or [1.0], "kl_budget": given.kl_budget,
        "max_tokens": given.max_tokens, "temperature": given.temperature, "seed": given.seed,
    }  # fmt: skip
    return _validated(body, "command line")


def _validated(body: Any, where: str) -> SteeringRequest:
    try:
        return SteeringRequest.model_validate(body)
    except ValidationError as error:
        raise ConfigError(fault_lines(error, SteeringRequest, where)) from None


def _steerable(store: Store, request: SteeringRequest) -> Steerable:
    from configs.sae_origin import sae_origin
    from sae.formats.sae_folder import load_sae
    from sae.language_model import LanguageModel
    from sae.language_model.loading import load_tokenizer
    from sae.report.token_text import TokenText
    from sae.steering.run import Steerable

    if not request.interventions:
        raise ValueError("there are no interventions: nothing would be steered")
    files = {id: store.files(parse_ref(id, "saes")) for id in request.sae_ids()}
    models = sorted({found.manifest.inputs["model"] for found in files.values()})
    if len(models) > 1:
        raise ValueError(f"one request steers one model, and these SAEs are of {', '.join(models)}")
    first = next(iter(files.values())).manifest
    model, tokens = (
        store.files(parse_ref(models[0], "models")),
        store.files(parse_ref(first.inputs["tokens"], "tokens")),
    )
    lm = LanguageModel.load(model.directory(), sae_origin(first.config).lm_dtype)
    pieces = TokenText(model.path("tokenizer.json").read_text(encoding="utf-8"))
    saes = {id: load_sae(found.directory()) for id, found in files.items()}
    maxima = {
        (one.sae, one.latent): _largest(store, one.sae, one.latent)
        for one in request.interventions
        if one.unit == "max"
    }
    return Steerable(
        lm, load_tokenizer(model.directory()), pieces, saes, maxima, tokens.manifest.config.get("bos", "tokenizer")
    )


def _largest(store: Store, sae: str, latent: int) -> float:
    from cluster.catalog import open_catalog
    from sae.formats.features import FeaturesReader

    with open_catalog() as catalog:
        newest = catalog.artifacts("features", 1, filters={"sae": sae})
    if not newest:
        raise ValueError(f"--unit max needs the features of {sae}: extract them, or use raw or norm")
    largest = float(FeaturesReader(store.files(ArtifactRef("features", newest[0].id))).feature(latent)["max"])
    if not largest:
        raise ValueError(f"latent {latent} of {sae} was never active, so it has no largest activation: use raw or norm")
    return largest


def _figure(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


def _show(title: str, answer: AnswerText) -> None:
    from jobs.data_commands import printable

    print(f"--- {title}\n{printable(answer.text)}", file=sys.stderr)


def _plain(answer: AnswerText) -> dict[str, Any]:
    return {"text": answer.text, "tokens": answer.tokens, **answer.measured._asdict()}
