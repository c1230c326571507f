"""Labels of features: what each predicts, how well, and what a permuted label reaches on the same examples."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

FeatureType = Literal["tokens", "context", "writer", "both", "positional", "dense", "obscure"]
Method = Literal["tokens", "phrases", "context", "promoted", "neighbours", "endpoint"]


class _Scores(BaseModel):
    permuted_score: float | None = Field(description="Balanced accuracy of another feature's label: the control.")
    difference: float | None = Field(description="The score less that of the permuted label: the result.")
    difference_low: float | None = Field(description="Lower end of its 95% interval.")
    difference_high: float | None = Field(description="Upper end of its 95% interval.")
    beats: bool | None = Field(description="Whether the whole interval of the difference is above 0.")
    auc: float | None = Field(
        description="ROC-AUC by meaning: that text around an active test example is nearer to the label's words than text around "
        "a silent one; 0.5 by chance."
    )
    auc_permuted: float | None = Field(description="The same with another feature's label: the control.")
    auc_difference: float | None = Field(description="The AUC less that of the control.")
    auc_difference_low: float | None = Field(description="Lower end of its 95% interval.")
    auc_difference_high: float | None = Field(description="Upper end of its 95% interval.")


class LabelledFeature(_Scores):
    """A feature with its best label; fields of the label are null if no method found one that could be scored."""

    latent: int = Field(description="Number of the SAE's latent, from 0.")
    type: FeatureType = Field(description="What the feature is, by what its labels reached.")
    active_explain: int = Field(description="Active positions in the documents that labels were made from.")
    active_test: int = Field(description="Active positions in the documents that labels were scored on.")
    label: str | None = Field(description="The label: a predicate in words.", examples=["'km' after 'sq'"])
    method: Method | None = Field(description="How it was made.")
    label_score: float | None = Field(description="Balanced accuracy on test examples, 0.5 by chance.")

    detection: float | None = Field(
        description="Of the label by a model server, best or not: balanced accuracy at saying which texts it is active in."
    )
    detection_permuted: float | None = Field(description="The same with the label of another feature.")
    fuzzing: float | None = Field(description="Likewise at saying at which marked tokens it is active.")
    fuzzing_permuted: float | None = Field(description="The same with the label of another feature.")
    input_score: float | None = Field(description="Share of its strongest positions whose token it promotes.")
    input_score_control: float | None = Field(description="The same with what another feature promotes.")
    output_score: float | None = Field(
        description="(1 - rank / vocabulary) x probability of its best promoted token, amplified ten times on a neutral prompt."
    )
    output_score_control: float | None = Field(description="The same, amplified along another feature's direction.")
    ablation: float | None = Field(
        description="KL in nats from the default to the ablated next-token distribution, on its own examples."
    )
    ablation_control: float | None = Field(description="The same for a change of equal length along another feature.")
    ablation_difference: float | None = Field(description="Ablation less its control.")
    ablation_low: float | None = Field(description="Lower end of the difference's 95% interval.")
    ablation_high: float | None = Field(description="Upper end of the difference's 95% interval.")
    ablation_p: float | None = Field(
        description="Probability of a difference as far above 0 by chance, by Student's t."
    )
    promotion: float | None = Field(
        description="Change in nats of the log probability of its promoted tokens when its activation is doubled."
    )
    promotion_control: float | None = Field(description="The same for a change of equal length along another feature.")
    promotion_difference: float | None = Field(description="Promotion less its control.")
    promotion_low: float | None = Field(description="Lower end of the difference's 95% interval.")
    promotion_high: float | None = Field(description="Upper end of the difference's 95% interval.")
    promotion_p: float | None = Field(
        description="Probability of a difference as far above 0 by chance, by Student's t."
    )


class LabelledFeaturePage(BaseModel):
    """One page of features with their labels."""

    items: list[LabelledFeature] = Field(description="The features, in the requested order.")
    next: str | None = Field(description="Cursor of the next page; null on the last one.")
    total: int = Field(description="Features that match, on all pages.")


class Evidence(BaseModel):
    """An active position that a label was made from."""

    row: int = Field(description="Row of the tokens.")
    position: int = Field(description="Position in the row.")


class Fuzzing(BaseModel):
    """How well a model server, given the label, tells at which marked tokens the feature is active."""

    score: float = Field(description="Balanced accuracy on test examples, 0.5 by chance.")
    low: float | None = Field(description="Lower end of its 95% interval.")
    high: float | None = Field(description="Upper end of its 95% interval.")
    permuted: float = Field(description="The same with the label of another feature: the control.")
    difference: float = Field(description="The score less that of the control.")
    difference_low: float | None = Field(description="Lower end of its 95% interval.")
    difference_high: float | None = Field(description="Upper end of its 95% interval.")


class FeatureLabel(_Scores):
    """One label of a feature."""

    method: Method = Field(description="How it was made.")
    label: str = Field(description="The label: a predicate in words; of `endpoint` what the model server said.")
    phrases: list[list[str]] = Field(description="Word forms that end at the position; none: any.")
    context: list[str] = Field(description="Word forms of which one is among the 16 positions before; none: any.")
    follows: bool = Field(description="Whether the phrases are the next token instead.")
    inherited_from: int | None = Field(description="The neighbour that it was made for; null if it is its own.")
    evidence: list[Evidence] = Field(description="Active positions that it was made from, the strongest first.")
    score: float = Field(description="Balanced accuracy on test examples, 0.5 by chance.")
    score_low: float | None = Field(description="Lower end of its 95% interval.")
    score_high: float | None = Field(description="Upper end of its 95% interval.")
    score_near: float | None = Field(description="With near misses alone: the same tokens, where it is silent.")
    score_random: float | None = Field(description="With random silent positions alone.")
    precision: float | None = Field(
        description="Active share of all test positions that it names; null for `endpoint`: it is not executed."
    )
    recall: float | None = Field(description="Named share of all active test positions; null for `endpoint`.")
    auc_low: float | None = Field(description="Lower end of the AUC's 95% interval.")
    auc_high: float | None = Field(description="Upper end of the AUC's 95% interval.")
    auc_near: float | None = Field(description="The AUC with near misses alone: the same tokens, where it is silent.")
    auc_random: float | None = Field(description="The AUC with random silent positions alone.")
    fuzzing: Fuzzing | None = Field(description="Of `endpoint`, whose `score` is by detection: the score by fuzzing.")
    permuted_feature: int = Field(description="The feature whose label is the control.")
    test_active: int = Field(description="Active test examples.")
    test_near: int = Field(description="Near misses among the test examples.")
    test_random: int = Field(description="Random silent test examples.")
