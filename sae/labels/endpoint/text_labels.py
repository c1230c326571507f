"""Labels in words of some features: made from explain examples, judged on others, each beside another feature's label."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np

from configs.label_endpoint import LabelEndpoint
from sae.labels.activations import Activations
from sae.labels.endpoint.answers import parse_explanation, parse_judgement
from sae.labels.endpoint.asking import Asker
from sae.labels.endpoint.examples import LEAST, ShownExamples, batches, judged, show
from sae.labels.endpoint.prompts import Prompt, detection_prompt, explanation_prompt, fuzzing_prompt
from sae.labels.endpoint.windows import Window, Windows
from sae.labels.examples import LabelExamples, draw_examples
from sae.labels.label_features import EXPLAIN, TEST, FeatureLabels, LabelSettings
from sae.labels.predicate import holds
from sae.labels.scores import LabelScore, above, score
from sae.labels.text import Int64, LabelText, Mask
from sae.metrics.intervals import Estimate

Status = Literal["labelled", "obscure", "unreadable", "silent"]
T = TypeVar("T")
MakePrompt = Callable[[str, Sequence[Window]], Prompt]
_DRAWN, _PERMUTED = 7, 8  # of seeds
_NO_POSITIONS: Int64 = np.zeros(0, np.int64)


class TestScore(NamedTuple):
    """A judgement on test examples, and the same of the permuted label. `unjudged`: examples without a readable answer."""

    examples: LabelExamples
    own: LabelScore
    permuted: LabelScore
    difference: Estimate
    unjudged: int


class TextLabel(NamedTuple):
    """What the server says of a feature, and how that was judged.

    `status`: `labelled`; `obscure` by the server's own word; `unreadable` answers; `silent`: too few active examples.
    `explain`, `explain_best`: balanced accuracy of it and of the best other label on the same explain examples, that it
    was not made from. Scores are None without both kinds of examples, or without another label as control.
    """

    feature: int
    status: Status
    text: str | None = None
    hash: str | None = None
    evidence: Int64 = _NO_POSITIONS
    prompt_tokens: int = 0
    completion_tokens: int = 0
    explain: Estimate | None = None
    explain_best: Estimate | None = None
    permuted_feature: int | None = None
    detection: TestScore | None = None
    fuzzing: TestScore | None = None


class TextLabeller:
    """Labels features of one SAE by a model server. `found`: their other labels, one entry a feature."""

    def __init__(
        self,
        text: LabelText,
        active: Activations,
        windows: Windows,
        found: Sequence[FeatureLabels],
        settings: LabelSettings,
        endpoint: LabelEndpoint,
    ) -> None:
        self._text, self._active, self._windows, self._found = text, active, windows, found
        self._settings, self._endpoint = settings, endpoint
        self._explain, self._test = np.flatnonzero(text.explain), np.flatnonzero(text.test)

    def features(self) -> list[int]:
        """The features to label, ascending."""
        latents = self._endpoint.latents
        if not isinstance(latents, int):
            return sorted(latents)
        usable = [feature for feature in range(self._active.features) if self._usable(feature)]
        drawn = np.random.default_rng((self._settings.seed, _DRAWN)).permutation(np.array(usable, np.int64))
        return sorted(int(feature) for feature in drawn[:latents])

    async def label(self, asker: Asker) -> list[TextLabel]:
        """Asks for all labels, then for all judgements. Raises EndpointError, EndpointUnreachable, EndpointBudget."""
        made = await _all(self._made(feature, asker) for feature in self.features())
        texts = {one.feature: one.text for one in made if one.text is not None}
        return await _all(self._judged(one, texts, asker) for one in made)

    async def _made(self, feature: int, asker: Asker) -> TextLabel:
        if not self._usable(feature):
            return TextLabel(feature, "silent")
        shown = self._shown(feature)
        examples = [(self._windows.at(int(at)), share) for at, share in zip(shown.active, shown.shares, strict=True)]
        prompt = explanation_prompt(examples, [self._windows.at(int(at)) for at in shown.near])
        asked = await asker.ask(prompt, parse_explanation)
        status: Status = "unreadable" if asked.answer is None else "obscure" if asked.answer.obscure else "labelled"
        text = asked.answer.label.strip() if status == "labelled" else None
        return TextLabel(feature, status, text, asked.hash, shown.active, asked.prompt_tokens, asked.completion_tokens)

    async def _judged(self, label: TextLabel, texts: Mapping[int, str], asker: Asker) -> TextLabel:
        if label.text is None:
            return label
        permuted = self._permuted(label, texts)
        control = None if permuted is None else texts[permuted]
        (explain, best), detection, fuzzing = await asyncio.gather(
            self._explained(label, asker),
            self._tested(label, control, detection_prompt, True, asker),
            self._tested(label, control, fuzzing_prompt, False, asker),
        )
        return label._replace(
            explain=explain, explain_best=best, permuted_feature=permuted, detection=detection, fuzzing=fuzzing
        )

    def _permuted(self, label: TextLabel, texts: Mapping[int, str]) -> int | None:
        """Another feature, drawn by the seed, whose label is another."""
        assert label.text is not None
        others = [
            f for f, text in sorted(texts.items()) if f != label.feature and text.casefold() != label.text.casefold()
        ]
        random = np.random.default_rng((self._settings.seed, label.feature, _PERMUTED))
        return others[int(random.integers(len(others)))] if others else None

    async def _explained(self, label: TextLabel, asker: Asker) -> tuple[Estimate | None, Estimate | None]:
        """By this alone the best label is chosen, so the choice does not profit from the scores."""
        shown = self._shown(label.feature)
        examples = judged(
            self._drawn(label.feature, EXPLAIN), self._windows, _NO_POSITIONS, self._endpoint.judged,
            (self._settings.seed, label.feature, EXPLAIN), False, np.concatenate([shown.active, shown.near]),
        )  # fmt: skip
        labels = self._found[label.feature].labels
        if not _enough(examples) or not labels:
            return None, None
        said = await self._said(label, label.text, examples, fuzzing_prompt, EXPLAIN, asker)
        kept = _only(examples, said)
        own = score(_at(said), kept)
        best = score(partial(holds, labels[0].label.predicate, self._text), kept)
        return None if own is None else own.both, None if best is None else best.both

    async def _tested(
        self, label: TextLabel, control: str | None, prompt: MakePrompt, silent_windows: bool, asker: Asker
    ) -> TestScore | None:
        at = self._active.of(label.feature)
        examples = judged(
            self._drawn(label.feature, TEST), self._windows, at, self._endpoint.judged,
            (self._settings.seed, label.feature, TEST), silent_windows,
        )  # fmt: skip
        if control is None or not _enough(examples):
            return None
        said, permuted_said = await asyncio.gather(
            self._said(label, label.text, examples, prompt, TEST, asker),
            self._said(label, control, examples, prompt, TEST, asker),
        )
        both = {position: said[position] for position in said.keys() & permuted_said.keys()}
        kept = _only(examples, both)
        own, permuted = score(_at(both), kept), score(_at(permuted_said), kept)
        if own is None or permuted is None:
            return None
        return TestScore(kept, own, permuted, above(own, permuted), examples.total - kept.total)

    async def _said(
        self, label: TextLabel, text: str | None, examples: LabelExamples, prompt: MakePrompt, part: int, asker: Asker
    ) -> dict[int, bool]:
        """Whether each example is said to be active; without those of answers that could not be read."""
        assert text is not None
        parts = batches(examples, self._endpoint.batch, (self._settings.seed, label.feature, part))

        async def one(batch: Int64) -> dict[int, bool]:
            numbers = range(1, len(batch) + 1)
            question = prompt(text, [self._windows.at(int(at)) for at in batch])
            asked = await asker.ask(question, lambda answer: parse_judgement(answer, numbers))
            if asked.answer is None:
                return {}
            return {int(at): number in asked.answer for number, at in zip(numbers, batch, strict=True)}

        found = await _all(one(batch) for batch in parts)
        return {position: active for said in found for position, active in said.items()}

    def _shown(self, feature: int) -> ShownExamples:
        drawn, endpoint = self._drawn(feature, EXPLAIN), self._endpoint
        return show(
            feature, self._active, self._text, drawn, endpoint.shown, endpoint.shown_near, self._settings.strength,
            self._settings.seed,
        )  # fmt: skip

    def _drawn(self, feature: int, part: int) -> LabelExamples:
        """The same examples as other labels are made from, and tested on."""
        if part == TEST:
            return self._found[feature].test
        strong, weak = self._active.split(feature, self._text.explain, self._settings.strength)
        seed = (self._settings.seed, feature, EXPLAIN)
        return draw_examples(strong, weak, self._text.explain, self._explain, self._text, self._settings.examples, seed)

    def _usable(self, feature: int) -> bool:
        strong, _ = self._active.split(feature, self._text.explain, self._settings.strength)
        return min(int(part[strong].sum()) for part in (self._text.explain, self._text.test)) >= LEAST


def _at(said: Mapping[int, bool]) -> Callable[[Int64], Mask]:
    """What is said at some of the positions; False where nothing is."""
    return lambda at: np.fromiter((said.get(position, False) for position in at.tolist()), np.bool_, len(at))


def _enough(examples: LabelExamples) -> bool:
    return len(examples.active) >= LEAST and len(examples.near) + len(examples.random) >= LEAST


def _only(examples: LabelExamples, said: Mapping[int, bool]) -> LabelExamples:
    judged_at = np.fromiter(said, np.int64, len(said))
    return LabelExamples(*(at[np.isin(at, judged_at)] for at in examples))


async def _all(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """All results, in order; the first error ends the others."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
