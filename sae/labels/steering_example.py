"""One example of steering: text that a labelled feature changes, beside the text without it and with a control."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from configs.steering import Intervention, SteeringRequest
from sae.labels.label_features import FeatureLabels
from sae.labels.text import Int64
from sae.language_model.errors import ModelError
from sae.steering.errors import SteeringError
from sae.steering.run import AnswerText, Steerable, Steered, run

BUDGET = 1.0  # nats per token
_TOKENS = 40


def choose_feature(found: Sequence[FeatureLabels]) -> FeatureLabels | None:
    """The feature whose label is the surest (the largest lower end of its difference), of those that write if there are any.

    None if no label beats its control.
    """
    beats = [one for one in found if one.labels and one.labels[0].beats]
    writers = [one for one in beats if one.type in ("both", "writer")]
    return max(writers or beats, key=lambda one: (one.labels[0].difference.body()["low"], -one.feature), default=None)


def steering_example(
    on: Steerable, sae: str, prompt: str, found: Sequence[FeatureLabels], control: Int64
) -> dict[str, Any] | None:
    """The prompt's answers: without a change, with the chosen feature added, and with its control added, at one KL per token.

    None without a feature that could be shown. `problem` says why an answer is missing.
    """
    chosen = choose_feature(found)
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
