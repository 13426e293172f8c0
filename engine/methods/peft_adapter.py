"""What all methods of peft share: which layers they go to, the heads beside them, and the way back to a plain model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import PeftConfig, get_peft_model

from engine.errors import UserError
from engine.methods.architecture import has_conv1d, linear_layers
from engine.methods.method import Method, ParameterGroup, TaskSide
from engine.recipe import DEFAULT_LEARNING_RATES, Recipe

ALL_LINEAR = "all-linear"


class PeftMethod(Method):
    """A method whose adapter peft makes, saves and merges."""

    can_merge = True

    def save(self, model: Any, folder: Path) -> None:
        # "auto" would ask a hub whether the vocabulary has grown; the embeddings are the base's.
        model.save_pretrained(folder, save_embedding_layers=False)

    def parameter_groups(self, model: Any, recipe: Recipe) -> list[ParameterGroup]:
        """A head beside vectors or scales that need high rates learns no faster than a head alone would."""
        factor = min(1.0, DEFAULT_LEARNING_RATES["head-only"] / DEFAULT_LEARNING_RATES[recipe.method])
        trained = [(name, each) for name, each in model.named_parameters() if each.requires_grad]
        of_head = [each for name, each in trained if ".modules_to_save." in name]
        of_adapter = [each for name, each in trained if ".modules_to_save." not in name]
        groups = [ParameterGroup(of_adapter), ParameterGroup(of_head, factor)]
        return [group for group in groups if group.parameters]

    def merge(self, model: Any) -> Any:
        return model.merge_and_unload()


def adapt(model: Any, config: PeftConfig) -> Any:
    """The peft model. The adapter stays in the base's type, where peft lets it: float32 products over a bfloat16
    base are slow, and the optimizer keeps float32 masters anyway."""
    return get_peft_model(model, config, autocast_adapter_dtype=False)


def heads(model: Any, task: TaskSide) -> list[str] | None:
    """peft's modules_to_save: the task's heads that have weights; None where there are none."""
    modules = dict(model.named_modules())
    names = []
    for head in task.head_names:
        matching = [module for name, module in modules.items() if f".{name}".endswith(f".{head}")]
        if any(True for module in matching for _ in module.parameters()):
            names.append(head)
    return names or None


def task_type(task: TaskSide) -> str | None:
    return task.peft_type or None


def targets(model: Any, recipe: Recipe, task: TaskSide) -> list[str]:
    """Full names of the layers that get an adapter: the recipe's, or every linear one but the heads.

    Raises:
        UserError: "target-modules-not-found"; peft would pass over a name that is none.
    """
    layers = linear_layers(model, task.head_names)
    wanted = tuple(recipe.target_modules)
    if ALL_LINEAR in wanted:
        return layers
    missing = [each for each in wanted if not any(f".{name}".endswith(f".{each}") for name in layers)]
    if missing:
        raise UserError(
            "target-modules-not-found",
            "No layer of this model is called {targets}. Choose all-linear, or names that it has: {names}.",
            targets=", ".join(missing), names=", ".join(sorted({name.rsplit(".", 1)[-1] for name in layers})),
        )  # fmt: skip
    return [name for name in layers if any(f".{name}".endswith(f".{each}") for each in wanted)]


def require_plain_linear(model: Any, recipe: Recipe) -> None:
    """Raises UserError "method-unfit" where the layers are GPT-2's transposed ones, which some methods do not know."""
    if has_conv1d(model):
        raise UserError(
            "method-unfit",
            "{method} does not know the transposed layers of this model ({model}). Choose LoRA.",
            method=recipe.method, model=model.config.model_type,
        )  # fmt: skip
