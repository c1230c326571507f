"""One example of steering: text that a labelled feature changes, beside the text without it and with a control."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from configs.steering import Intervention, SteeringRequest
from sae.labels.label_features import FeatureLabels
from sae.labels.text import Float64, Int64
from sae.language_model.errors import ModelError
from sae.steering.errors import SteeringError
from sae.steering.run import AnswerText, Steerable, Steered, run

BUDGET = 1.0  # nats per token
_TOKENS = 40


def choose_feature(found: Sequence[FeatureLabels], input_score: Float64) -> FeatureLabels | None:
    """The feature that promotes most of what it reads, and of these the one with the surest label.

    None if no label beats its control.
    """

    def rank(one: FeatureLabels) -> tuple[float, float, int]:
        reads = float(input_score[one.feature])
        return reads if reads > 0 else 0.0, one.labels[0].difference.body()["low"], -one.feature

    return max((one for one in found if one.labels and one.labels[0].beats), key=rank, default=None)


def steering_example(
    on: Steerable, sae: str, prompt: str, found: Sequence[FeatureLabels], input_score: Float64, control: Int64
) -> dict[str, Any] | None:
    """The prompt's answers: without a change, with the chosen feature added, and with its control added, at one KL per token.

    None without a feature that could be shown. `problem` says why an answer is missing.
    """
    chosen = choose_feature(found, input_score)
    if chosen is None:
        return None
    other = int(control[chosen.feature])
    body: dict[str, Any] = {"prompt": prompt, "kl_budget": BUDGET, "unsteered": None, "answers": [], "problem": None}
    for feature in (chosen.feature, other):
        try:
            steered = _steered(on, sae, prompt, feature)
        except (SteeringError, ModelError) as error:
            body["problem"] = f"feature {feature}: {error}"
            continue
        body["unsteered"] = _answer(steered.unsteered)
        label = found[feature].labels[0].label.describe() if found[feature].labels else None
        answer = {"feature": feature, "control": feature == other, "label": label, **_answer(steered.steered[0])}
        body["answers"].append(answer)
    return body


def _steered(on: Steerable, sae: str, prompt: str, feature: int) -> Steered:
    change = Intervention(sae=sae, latent=feature, op="add", value=1.0, unit="raw")
    request = SteeringRequest(text=prompt, interventions=(change,), kl_budget=BUDGET, max_tokens=_TOKENS)
    *_, last = run(on, request)
    assert isinstance(last, Steered)
    return last


def _answer(answer: AnswerText) -> dict[str, Any]:
    measured = answer.measured
    return {
        "text": answer.text,
        "strength": measured.dose,
        "kl": measured.kl,
        "change": measured.change,
        "perplexity": measured.perplexity,
        "repetition": measured.repetition,
        "positions": measured.positions,
    }
