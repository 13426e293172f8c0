"""Embeddings: texts as vectors that lie near each other where the texts mean the same.

Pairs that belong together learn by contrast with the other pairs of their micro batch; pairs with a score learn that
their cosine is the score. What is saved is the encoder alone, which transformers' AutoModel opens.

Sources: InfoNCE, van den Oord et al. 2018, over the second texts of a batch as Henderson et al. 2017 do (sentence-
transformers' MultipleNegativesRankingLoss); cosine against score by squared error, Reimers and Gurevych 2019.

Shapes: B pairs, N texts, T time, D width.
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engine.batches import Batch, validation_batches
from engine.data.dataset import Dataset
from engine.data.examples import Example, SimilarPair
from engine.errors import UserError
from engine.messages import Predicted
from engine.metrics.similarity import (
    correlation_metrics,
    cosine_similarities,
    ranks_of_targets,
    retrieval_metrics,
)
from engine.models.opening import quicken
from engine.recipe import Recipe
from engine.tasks.encoder_rows import asked, encoder_inputs, real_tokens, row_limit
from engine.tasks.task import EvalResult, PinnedPrompt, ShownRow, Task

Vectors = NDArray[np.float32]
TEXTS_AT_ONCE = 32
UNSCORED = float("nan")


@dataclass(slots=True)
class PairRow:
    """Two texts; `input_ids` are both, one after the other, the second from `second_start` on.

    `score` is NaN for a pair that belongs together.
    """

    input_ids: list[int]
    token_type_ids: list[int]
    second_start: int
    score: float
    num_full_tokens: int
    checks: tuple[str, ...] = ()

    @property
    def num_targets(self) -> int:
        return 1


class Embedding(Task):
    id = "embedding"
    peft_type = "FEATURE_EXTRACTION"
    roles = ("first", "second")

    def __init__(self, recipe: Recipe, facts: Mapping[str, Any]) -> None:
        super().__init__(recipe, facts)
        # Whoever opens the weights must pool as they were trained, whatever recipe comes along.
        self.pooling: str = facts.get("pooling", recipe.pooling)

    @classmethod
    def learn_facts(cls, dataset: Dataset, recipe: Recipe) -> dict[str, Any]:
        return {"pooling": recipe.pooling}

    def load_model(self, folder: Path, *, dtype: torch.dtype, device: str) -> Any:
        """The encoder without a pooler of its own, which would be trained for nothing."""
        return load_encoder(folder, dtype=dtype, device=device)

    def attach(self, model: Any, tokenizer: Any) -> None:
        super().attach(model, tokenizer)
        self._pad_id: int = tokenizer.pad_token_id or 0

    def describe(self, folder: Path) -> None:
        """How tokens become a vector, as sentence-transformers reads it."""
        modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
        _write(folder / "modules.json", [
            {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{name}"}
            for place, (path, name) in enumerate(modules)
        ])  # fmt: skip
        limit = row_limit(self.recipe, self.tokenizer, self.model)
        _write(folder / "sentence_bert_config.json", {"max_seq_length": limit, "do_lower_case": False})
        (folder / "1_Pooling").mkdir(exist_ok=True)
        _write(folder / "1_Pooling/config.json", {
            "word_embedding_dimension": int(self.model.config.hidden_size),
            "pooling_mode_mean_tokens": self.pooling == "mean",
            "pooling_mode_cls_token": self.pooling == "cls",
        })  # fmt: skip

    # ------------------------------------------------------------------------------------------- rows

    def encode(self, examples: Sequence[Example], tokenizer: Any) -> list[list[PairRow]]:
        pairs = [example for example in examples if isinstance(example, SimilarPair)]
        if not pairs:
            return []
        texts = [pair.first for pair in pairs] + [pair.second for pair in pairs]
        ids, types, full = self._tokens(texts, tokenizer)
        rows = []
        for one, pair in enumerate(pairs):
            two = one + len(pairs)
            is_cut = full[one] + full[two] > len(ids[one]) + len(ids[two])
            rows.append(
                PairRow(
                    ids[one] + ids[two], types[one] + types[two], len(ids[one]),
                    UNSCORED if pair.score is None else pair.score, full[one] + full[two],
                    ("truncated-prompt",) if is_cut else (),
                )
            )  # fmt: skip
        return [[row] for row in rows]

    def _tokens(
        self, texts: Sequence[str], tokenizer: Any
    ) -> tuple[list[list[int]], list[list[int]], list[int]]:
        """Ids and types of each text, cut to the longest row, and how many ids it had before."""
        limit = row_limit(self.recipe, tokenizer, self.model)
        full = tokenizer(list(texts), return_attention_mask=False, verbose=False)["input_ids"]
        tokens = tokenizer(list(texts), truncation=True, max_length=limit, return_attention_mask=False)
        types = tokens.get("token_type_ids", [[] for _ in texts])
        return tokens["input_ids"], types, [len(ids) for ids in full]

    def show(self, row: PairRow) -> ShownRow:
        target = "" if math.isnan(row.score) else f"{row.score:.3g}"
        return ShownRow(row.input_ids, [False] * len(row.input_ids), [], target)

    def collate(self, rows: Sequence[Any], positions: Sequence[int], device: str) -> Batch:
        """Inputs (2B, T): the first texts, then the second ones. Labels (B,): scores, NaN for pairs without."""
        chosen = [rows[i] for i in positions]
        ids = [row.input_ids[: row.second_start] for row in chosen]
        ids += [row.input_ids[row.second_start :] for row in chosen]
        types = [row.token_type_ids[: row.second_start] for row in chosen]
        types += [row.token_type_ids[row.second_start :] for row in chosen]
        return Batch(
            inputs=encoder_inputs(ids, types, self._pad_id, device),
            labels=torch.tensor([row.score for row in chosen], dtype=torch.float32).to(device),
            rows=tuple(positions),
            num_tokens=sum(map(len, ids)),
            num_targets=len(chosen),
        )

    # ------------------------------------------------------------------------------------------- loss

    def loss_sum(self, batch: Batch) -> Tensor:
        first_BD, second_BD = self._vectors(batch.inputs).chunk(2)
        ids_2BT = batch.inputs["input_ids"]
        same_BB = same_texts(*ids_2BT.chunk(2))
        return pair_loss(first_BD, second_BD, batch.labels, self.recipe.temperature, same_BB)

    def _vectors(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Vectors of length 1, (N, D) float32."""
        hidden_NTD = self.model(**inputs).last_hidden_state
        hidden_NTD = real_tokens(hidden_NTD, inputs["input_ids"]).float()
        return functional.normalize(pooled(hidden_NTD, inputs["attention_mask"], self.pooling), dim=-1)

    def evaluate(
        self, rows: Sequence[Any], *, device: str, on_batch: Callable[[int, int], None]
    ) -> EvalResult:
        first_ND, second_ND = self.predict(rows, device=device, on_batch=on_batch)
        scores_N = np.asarray([row.score for row in rows], np.float32)
        loss = self.loss_over(first_ND, second_ND, scores_N, rows)
        return EvalResult(loss, len(rows), figures(first_ND, second_ND, scores_N))

    def predict(
        self, rows: Sequence[Any], *, device: str, on_batch: Callable[[int, int], None]
    ) -> tuple[Vectors, Vectors]:
        """The vectors of the first and of the second texts, (rows, D) each, in the order of the rows."""
        found: list[list[Vectors]] = [[], []]
        order: list[int] = []

        def take(batch: Batch) -> None:
            order.extend(batch.rows)
            for side, vectors_BD in zip(found, self._vectors(batch.inputs).cpu().chunk(2), strict=True):
                side.append(vectors_BD.numpy())

        self.over_batches(rows, device, on_batch, take)
        back = np.argsort(np.asarray(order, np.int64))
        if not len(back):
            return np.zeros((0, 1), np.float32), np.zeros((0, 1), np.float32)
        return np.concatenate(found[0])[back], np.concatenate(found[1])[back]

    def loss_over(
        self, first_ND: Vectors, second_ND: Vectors, scores_N: NDArray[np.float32], rows: Sequence[Any]
    ) -> float:
        """Mean loss in micro batches of the recipe's size in the order of the rows: contrast is a matter of how many
        others there are, and so the loss compares with that of training."""
        total, size = 0.0, self.recipe.micro_batch_size
        for start in range(0, len(rows), size):
            part = slice(start, start + size)
            sides = [torch.from_numpy(side[part]) for side in (first_ND, second_ND)]
            batch = self.collate(rows, range(start, min(start + size, len(rows))), "cpu")
            same_BB = same_texts(*batch.inputs["input_ids"].chunk(2))
            scores_B = torch.from_numpy(scores_N[part])
            total += float(pair_loss(sides[0], sides[1], scores_B, self.recipe.temperature, same_BB))
        return total / len(rows) if rows else float("nan")

    # ---------------------------------------------------------------------------------------- answers

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Vectors of length 1, (texts, D) float32."""
        if not texts:
            return np.zeros((0, int(self.model.config.hidden_size)), np.float32)
        ids, types, _ = self._tokens(texts, self.tokenizer)
        found: list[Vectors] = [np.zeros(0, np.float32)] * len(texts)
        with asked(self.model):
            for places in validation_batches([len(each) for each in ids], TEXTS_AT_ONCE):
                inputs = encoder_inputs(
                    [ids[place] for place in places], [types[place] for place in places], self._pad_id,
                    str(self.model.device),
                )  # fmt: skip
                for place, vector_D in zip(places, self._vectors(inputs).cpu().numpy(), strict=True):
                    found[place] = vector_D
        return np.stack(found)

    def pin(self, example: Example) -> PinnedPrompt:
        """The two texts, a line each."""
        assert isinstance(example, SimilarPair)
        lines = [" ".join(text.split()) for text in (example.first, example.second)]
        return PinnedPrompt("\n".join(lines), "" if example.score is None else f"{example.score:.2f}")

    def sample(self, prompts: Sequence[PinnedPrompt]) -> list[str]:
        pairs = [pinned.prompt.partition("\n") for pinned in prompts]
        vectors_ND = self.embed([text for first, _, second in pairs for text in (first, second or first)])
        return [f"{score:.2f}" for score in cosine_similarities(vectors_ND[::2], vectors_ND[1::2])]

    def answer(self, inputs: Mapping[str, str], top_k: int) -> Predicted:
        """`score` is the cosine of `first` and `second` (or `text` and `text_pair`), from -1 to 1."""
        texts = []
        for role, other in (("first", "text"), ("second", "text_pair")):
            text = inputs.get(role) or inputs.get(other) or ""
            if not text.strip():
                raise UserError(
                    "input-missing",
                    "Two texts are compared, and one of them is missing: {role}. Write both, then ask again.",
                    role=role,
                )  # fmt: skip
            texts.append(text)
        one_D, two_D = self.embed(texts)
        return Predicted(self.id, score=float(one_D @ two_D))


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")


def load_encoder(folder: Path, *, dtype: torch.dtype, device: str) -> Any:
    """The encoder of a folder without head or pooler.

    Raises:
        UserError: "model-unreadable".
    """
    from transformers import AutoConfig, AutoModel
    from transformers.models.auto.modeling_auto import MODEL_MAPPING

    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        made = inspect.signature(MODEL_MAPPING[type(config)].__init__).parameters
        options = {"add_pooling_layer": False} if "add_pooling_layer" in made else {}
        model, found = AutoModel.from_pretrained(
            folder, dtype=dtype, attn_implementation="sdpa", use_safetensors=True, local_files_only=True,
            output_loading_info=True, **options,
        )  # fmt: skip
        if lost := sorted(key for key in found["missing_keys"] if "pooler." not in key):
            raise ValueError(f"it has no weights for {lost[0]} ({len(lost)} are missing).")
    except (OSError, ValueError, KeyError, RuntimeError) as wrong:
        raise UserError(
            "model-unreadable",
            "The model in {folder} could not be opened: {reason} A model with safetensors weights was expected.",
            folder=str(folder), reason=str(wrong).splitlines()[0],
        ) from wrong  # fmt: skip
    model = model.to(device)
    quicken(model)
    return model


def pooled(hidden_NTD: Tensor, mask_NT: Tensor, pooling: str) -> Tensor:
    """One vector a text, (N, D): the mean of its tokens, or its first."""
    if pooling == "cls":
        return hidden_NTD[:, 0]
    mask_NT1 = mask_NT[:, :, None].to(hidden_NTD.dtype)
    return (hidden_NTD * mask_NT1).sum(dim=1) / mask_NT1.sum(dim=1)


def same_texts(first_BT: Tensor, second_BT: Tensor) -> Tensor:
    """Where pair j is no contrast to pair i, because they share a text; (B, B), true on the diagonal."""

    def alike(ids_BT: Tensor) -> Tensor:
        return (ids_BT[:, None] == ids_BT[None]).all(dim=-1)

    return alike(first_BT) | alike(second_BT)


def pair_loss(
    first_BD: Tensor, second_BD: Tensor, scores_B: Tensor, temperature: float, same_BB: Tensor
) -> Tensor:
    """Summed over pairs, float32. A pair without a score has the nats of finding its second text among all of the
    batch; a pair with one has the squared distance of cosine and score.

    Args:
        first_BD, second_BD: vectors of length 1.
        same_BB: pairs that are no contrast to each other.
    """
    is_scored_B = ~scores_B.isnan()
    loss = first_BD.new_zeros(())
    if bool(is_scored_B.any()):
        cosines_B = (first_BD * second_BD).sum(dim=-1)
        loss = loss + (cosines_B - scores_B)[is_scored_B].square().sum()
    if not bool(is_scored_B.all()):
        sims_BB = first_BD @ second_BD.T / temperature
        itself_BB = torch.eye(len(sims_BB), dtype=torch.bool, device=sims_BB.device)
        sims_BB = sims_BB.masked_fill(same_BB & ~itself_BB, -torch.inf)
        places_B = torch.arange(len(sims_BB), device=sims_BB.device)
        each_B = functional.cross_entropy(sims_BB, places_B, reduction="none")
        loss = loss + each_B[~is_scored_B].sum()
    return loss


def figures(first_ND: Vectors, second_ND: Vectors, scores_N: NDArray[np.float32]) -> dict[str, float]:
    """Correlation over the pairs with a score; over those without, how often the second text is found among all."""
    is_scored_N = ~np.isnan(scores_N)
    found: dict[str, float] = {}
    if is_scored_N.any():
        cosines = cosine_similarities(first_ND[is_scored_N], second_ND[is_scored_N])
        found |= correlation_metrics(cosines, scores_N[is_scored_N])
    if not is_scored_N.all():
        found |= retrieval_metrics(ranks_of_targets(first_ND[~is_scored_N], second_ND[~is_scored_N]))
    return found


def nearest(task: Embedding, texts: Sequence[str], query: str, k: int) -> list[tuple[int, float]]:
    """The places of the `k` texts nearest to a query and their cosines, the nearest first.

    Raises:
        UserError: "input-missing".
    """
    if not query.strip():
        raise UserError("input-missing", "There is nothing to read yet. Give {role}.", role="query")
    vectors_ND = task.embed([query, *texts])
    cosines_N = vectors_ND[1:] @ vectors_ND[0]
    order = np.argsort(-cosines_N, kind="stable")[:k]
    return [(int(place), float(cosines_N[place])) for place in order]
