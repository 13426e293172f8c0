"""Text classification: one label of several, several labels at once, of one text or of a pair.

Shapes: B batch, T time, C classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.batches import Batch, pad
from engine.data.dataset import Dataset
from engine.data.examples import Example, Labelled
from engine.errors import UserError
from engine.messages import Predicted, ScoredLabel
from engine.metrics.classification import classification_metrics
from engine.metrics.multi_label import multi_label_metrics
from engine.models.opening import load_with_head
from engine.recipe import Recipe
from engine.strategies.classification_loss import balanced_weights, classification_loss
from engine.tasks.encoder_rows import row_limit
from engine.tasks.task import EvalResult, PinnedPrompt, ShownRow, Task, mean


@dataclass(slots=True)
class LabelledRow:
    """`classes` are places in the list of labels; one of them, unless several labels may hold at once."""

    input_ids: list[int]
    token_type_ids: list[int]
    classes: list[int]
    num_full_tokens: int
    checks: tuple[str, ...] = ()

    @property
    def num_targets(self) -> int:
        return 1


class TextClassification(Task):
    id = "text-classification"
    peft_type = "SEQ_CLS"

    def __init__(self, recipe: Recipe, facts: Mapping[str, Any]) -> None:
        super().__init__(recipe, facts)
        self.labels: list[str] = list(facts["labels"])
        self.is_multi_label = bool(facts["is_multi_label"])
        self.roles = ("text", "text_pair") if facts.get("is_pair") else ("text",)
        self._places = {label: place for place, label in enumerate(self.labels)}
        self._weights_C: Tensor | None = None

    @classmethod
    def learn_facts(cls, dataset: Dataset, recipe: Recipe) -> dict[str, Any]:
        """Raises UserError "one-label" if there is nothing to tell apart."""
        counts: Counter[str] = Counter()
        is_multi_label = is_pair = False
        for example in dataset.examples(cls.id):
            assert isinstance(example, Labelled)
            counts.update(example.labels)
            is_multi_label |= len(example.labels) != 1
            is_pair |= len(example.texts) > 1
        if len(counts) < 2:
            raise UserError(
                "one-label",
                "All rows of {data!r} have the same label, so there is nothing to tell apart. Add rows with another "
                "label, or give another column the role label in Data.",
                data=recipe.data,
            )
        labels = sorted(counts)
        return {
            "labels": labels, "label_counts": [counts[label] for label in labels],
            "is_multi_label": is_multi_label, "is_pair": is_pair,
        }  # fmt: skip

    def load_model(self, folder: Path, *, dtype: torch.dtype, device: str) -> Any:
        model, self.head_names = load_with_head(
            "AutoModelForSequenceClassification", folder, dtype=dtype, device=device,
            id2label=dict(enumerate(self.labels)), label2id=self._places,
            problem_type="multi_label_classification" if self.is_multi_label else "single_label_classification",
        )  # fmt: skip
        return model

    # ------------------------------------------------------------------------------------------- rows

    def encode(self, examples: Sequence[Example], tokenizer: Any) -> list[list[LabelledRow]]:
        labelled = [example for example in examples if isinstance(example, Labelled)]
        texts = [example.texts[0] for example in labelled]
        pairs = (
            [example.texts[1] for example in labelled] if labelled and len(labelled[0].texts) > 1 else None
        )
        tokens = self._tokens(tokenizer, texts, pairs)
        full = tokenizer(texts, pairs, verbose=False)["input_ids"]
        rows = []
        for place, example in enumerate(labelled):
            ids = tokens["input_ids"][place]
            is_cut = len(full[place]) > len(ids)
            rows.append(
                LabelledRow(
                    ids, tokens.get("token_type_ids", {place: []})[place],
                    [self._places[label] for label in example.labels], len(full[place]),
                    ("truncated-prompt",) if is_cut else (),
                )
            )  # fmt: skip
        return [[row] if row.input_ids else [] for row in rows]

    def show(self, row: LabelledRow) -> ShownRow:
        target = ", ".join(self.labels[place] for place in row.classes)
        return ShownRow(row.input_ids, [False] * len(row.input_ids), [], target)

    def _tokens(self, tokenizer: Any, texts: list[str], pairs: list[str] | None) -> Any:
        limit = row_limit(self.recipe, tokenizer, self.model)
        return tokenizer(texts, pairs, truncation=True, max_length=limit, return_attention_mask=False)

    def collate(self, rows: Sequence[Any], positions: Sequence[int], device: str) -> Batch:
        """Labels: (B,) classes, or (B, C) of 0 and 1 where several may hold."""
        chosen = [rows[i] for i in positions]
        inputs = {
            "input_ids": pad([row.input_ids for row in chosen], self._pad_id),
            "attention_mask": pad([[1] * len(row.input_ids) for row in chosen], 0),
        }
        if chosen[0].token_type_ids:
            inputs["token_type_ids"] = pad([row.token_type_ids for row in chosen], 0)
        if self.is_multi_label:
            labels = torch.zeros(len(chosen), len(self.labels))
            for i, row in enumerate(chosen):
                labels[i, row.classes] = 1.0
        else:
            labels = torch.tensor([row.classes[0] for row in chosen])
        return Batch(
            inputs={name: tensor.to(device) for name, tensor in inputs.items()},
            labels=labels.to(device),
            rows=tuple(positions),
            num_tokens=sum(len(row.input_ids) for row in chosen),
            num_targets=len(chosen),
        )

    # ------------------------------------------------------------------------------------------- loss

    def attach(self, model: Any, tokenizer: Any) -> None:
        super().attach(model, tokenizer)
        self._pad_id: int = tokenizer.pad_token_id or 0
        model.config.pad_token_id = self._pad_id  # decoders look for the last token before it
        if self.recipe.class_weights == "balanced" and "label_counts" in self.facts:
            self._weights_C = balanced_weights(self.facts["label_counts"]).to(model.device)

    def loss_sum(self, batch: Batch) -> Tensor:
        """With class weights, smoothing and focus as the recipe says; evaluation knows none of them."""
        return classification_loss(
            self._logits(batch), batch.labels, class_weights=self._weights_C,
            label_smoothing=self.recipe.label_smoothing, focal_gamma=self.recipe.focal_gamma,
        )  # fmt: skip

    def _logits(self, batch: Batch) -> Tensor:
        logits_BC: Tensor = self.model(**batch.inputs).logits.float()
        return logits_BC

    def evaluate(
        self, rows: Sequence[Any], *, device: str, on_batch: Callable[[int, int], None]
    ) -> EvalResult:
        logits_NC, loss = self.predict(rows, device=device, on_batch=on_batch)
        return EvalResult(loss, len(rows), self.figures(rows, logits_NC))

    def predict(
        self, rows: Sequence[Any], *, device: str, on_batch: Callable[[int, int], None]
    ) -> tuple[np.ndarray, float]:
        """The logits of every row, (rows, C) float32 in the order of the rows, and the mean loss."""
        logits_NC = np.zeros((len(rows), len(self.labels)), np.float32)
        total = 0.0

        def take(batch: Batch) -> None:
            nonlocal total
            logits_BC = self._logits(batch)
            total += float(classification_loss(logits_BC, batch.labels))
            logits_NC[list(batch.rows)] = logits_BC.cpu().numpy()

        self.over_batches(rows, device, on_batch, take)
        return logits_NC, mean(total, len(rows))

    def figures(self, rows: Sequence[Any], logits_NC: np.ndarray) -> dict[str, float]:
        """The figures that are worth watching while it trains."""
        if self.is_multi_label:
            wanted_NC = np.zeros(logits_NC.shape, bool)
            for place, row in enumerate(rows):
                wanted_NC[place, row.classes] = True
            return multi_label_metrics(wanted_NC, self.probabilities(logits_NC))
        wanted_N = np.asarray([row.classes[0] for row in rows])
        return classification_metrics(wanted_N, self.probabilities(logits_NC))

    def probabilities(self, logits_NC: np.ndarray) -> np.ndarray:
        """Shares of certainty, (rows, C) float64: of one class among all, or of each by itself."""
        logits = torch.from_numpy(logits_NC).double()
        return (logits.sigmoid() if self.is_multi_label else logits.softmax(dim=-1)).numpy()

    # ---------------------------------------------------------------------------------------- samples

    def pin(self, example: Example) -> PinnedPrompt:
        """The text; of a pair the first one on the first line, the second one below."""
        assert isinstance(example, Labelled)
        first, *second = example.texts
        shown = "\n".join([" ".join(first.split()), *second]) if second else first
        return PinnedPrompt(shown, ", ".join(example.labels))

    def sample(self, prompts: Sequence[PinnedPrompt]) -> list[str]:
        return [_as_text(self._labels_of(*self._parts(pinned.prompt), 2)) for pinned in prompts]

    def _parts(self, prompt: str) -> tuple[str, str]:
        """The text and, where it is one of a pair, the second text."""
        if "text_pair" not in self.roles:
            return prompt, ""
        first, _, second = prompt.partition("\n")
        return first, second

    def answer(self, inputs: Mapping[str, str], top_k: int) -> Predicted:
        """`text` and, for a pair, `text_pair`; the labels with the share of certainty that each has."""
        for role in self.roles:
            if not inputs.get(role, "").strip():
                raise UserError("input-missing", "There is nothing to read yet. Give {role}.", role=role)
        pair = inputs["text_pair"] if "text_pair" in self.roles else ""
        return Predicted(self.id, self._labels_of(inputs["text"], pair, top_k))

    @torch.no_grad()
    def _labels_of(self, text: str, pair: str, top_k: int) -> tuple[ScoredLabel, ...]:
        """The best labels of a text, or of a pair where the second is not empty."""
        was_training = self.model.training
        self.model.eval()
        tokens = self._tokens(self.tokenizer, [text], [pair] if pair else None)
        row = LabelledRow(tokens["input_ids"][0], tokens.get("token_type_ids", [[]])[0], [0], 0)
        logits_C = self._logits(self.collate([row], [0], str(self.model.device)))[0]
        self.model.train(was_training)
        scores_C = logits_C.sigmoid() if self.is_multi_label else logits_C.softmax(dim=-1)
        best = scores_C.argsort(descending=True)[:top_k].tolist()
        return tuple(ScoredLabel(self.labels[place], float(scores_C[place])) for place in best)


def _as_text(labels: Sequence[ScoredLabel]) -> str:
    return " · ".join(f"{each.label} {each.score:.0%}" for each in labels)
