"""Trainable tokens: words of the user's own get an embedding each, and nothing else is trained. The adapter is peft's.

The words are added to a copy of the task's tokenizer, which is the task's from then on: rows are encoded afterwards.
Words that the tokenizer has already as one token are trained in their place.
"""

from __future__ import annotations

import copy
from typing import Any

from peft import TrainableTokensConfig

from engine.errors import UserError
from engine.methods.method import TaskSide
from engine.methods.peft_adapter import PeftMethod, adapt, task_type
from engine.recipe import Recipe


class TrainableTokens(PeftMethod):
    def prepare(self, model: Any, recipe: Recipe, task: TaskSide) -> Any:
        if task.head_names:
            raise UserError(
                "method-unfit-task",
                "{method} trains embeddings alone, and this task needs a new head. Choose LoRA.",
                method=recipe.method,
            )
        if model.config.is_encoder_decoder:
            raise UserError(
                "method-unfit",
                "{method} needs one place where words come in; an encoder-decoder has two. Choose LoRA.",
                method=recipe.method,
            )
        task.tokenizer = copy.deepcopy(task.tokenizer)  # others may hold the one that was given
        ids = add_words(model, task.tokenizer, list(recipe.new_tokens))
        embedding = model.get_input_embeddings()
        name = next(name for name, module in model.named_modules() if module is embedding)
        config = TrainableTokensConfig(task_type=task_type(task), token_indices=ids, target_modules=[name])
        return adapt(model, config)


def add_words(model: Any, tokenizer: Any, words: list[str]) -> list[int]:
    """The ids of the words, which are new to the tokenizer or tokens of it; the embeddings grow where they must.

    A new word starts as the mean of the pieces that it was made of before.
    """
    pieces = {word: tokenizer(word, add_special_tokens=False)["input_ids"] for word in words}
    tokenizer.add_tokens([word for word in words if len(pieces[word]) != 1])
    if len(tokenizer) > model.get_input_embeddings().num_embeddings:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    weight = model.get_input_embeddings().weight.data
    ids = []
    for word in words:
        if len(pieces[word]) == 1:
            ids.append(pieces[word][0])
            continue
        ids.append(tokenizer.convert_tokens_to_ids(word))
        weight[ids[-1]] = weight[pieces[word]].mean(0) if pieces[word] else weight.mean(0)
    return sorted(set(ids))
