"""Which parameters are updated alike: by depth in the model, by what they are, and by what the method asks.

Depths are found for any architecture: the layers are the items of the model's outermost module lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn

from engine.methods.method import ParameterGroup as MethodGroup
from engine.optimizers.masters import MasterOptimizer, ParameterGroup
from engine.optimizers.rules import require_optimizer
from engine.optimizers.tables import tables_named_by_row
from engine.recipe import Recipe


@dataclass(frozen=True)
class _Kind:
    """What parameters of one group have in common. Matrices come first."""

    is_matrix: bool
    rate_factor: float
    weight_decay: float
    first_step: int
    rule: str
    dtype: str
    device: str


def optimizer_for(
    model: nn.Module, recipe: Recipe, method_groups: Sequence[MethodGroup] = ()
) -> MasterOptimizer:
    """The optimizer that a recipe asks for, over everything in `model` that requires a gradient.

    Raises:
        UserError: "optimizer-unavailable".
        ValueError: if nothing requires a gradient.
    """
    groups = groups_for(model, recipe, method_groups)
    for group in groups:
        require_optimizer(group.rule, group.parameters[0].device.type)
        for table in group.tables:
            table.sparse = True  # its gradient is the rows that were named
    return MasterOptimizer(groups, momentum=recipe.momentum, l1=recipe.l1, ema_decay=recipe.ema_decay)


def groups_for(
    model: nn.Module, recipe: Recipe, method_groups: Sequence[MethodGroup] = ()
) -> list[ParameterGroup]:
    """Parameters that require a gradient, grouped.

    Matrices decay, vectors (biases, norms) do not. The rate falls with the distance from the head by
    `layer_lr_decay`; a group of the method's own multiplies it by its `rate_factor`. Muon updates the hidden
    matrices, AdamW the rest.
    """
    named = [(name, each) for name, each in model.named_parameters() if each.requires_grad]
    depths, head = layer_depths(model)
    of_method = {id(each): group for group in method_groups for each in group.parameters}
    starts = first_steps({name: depths[name] for name, _ in named}, head, recipe.unfreeze_every_steps)
    tables = tables_named_by_row(model, recipe)
    embedded = {id(each) for module in _embeddings(model) for each in module.parameters()}

    kinds: dict[_Kind, list[nn.Parameter]] = {}
    for name, parameter in sorted(named, key=lambda pair: pair[1].ndim < 2):  # stable: matrices first
        is_hidden = parameter.ndim == 2 and depths[name] < head and id(parameter) not in embedded
        asked = of_method.get(id(parameter))
        kind = _Kind(
            is_matrix=parameter.ndim >= 2,
            rate_factor=recipe.layer_lr_decay ** (head - depths[name])
            * (asked.rate_factor if asked else 1.0),
            weight_decay=recipe.weight_decay if parameter.ndim >= 2 else 0.0,
            first_step=starts[name],
            rule="adamw" if recipe.optimizer == "muon" and not is_hidden else recipe.optimizer,
            dtype=str(parameter.dtype),
            device=str(parameter.device),
        )
        kinds.setdefault(kind, []).append(parameter)
    return [
        ParameterGroup(
            tuple(parameters), kind.rate_factor, kind.weight_decay, kind.first_step, kind.rule,
            tables=tuple(table for table in tables if any(table.weight is each for each in parameters)),
        )
        for kind, parameters in kinds.items()
    ]  # fmt: skip


def layer_depths(model: nn.Module) -> tuple[dict[str, int], int]:
    """The depth of every parameter by name, and that of the head.

    What comes before the first layer (embeddings) has depth 0, the layers 1, 2, … in the model's own order (a
    decoder's above its encoder's), what comes after the last one (final norm, head) one more than that.
    """
    lists = _outermost_lists(model)
    offsets: dict[str, int] = {}
    depths: dict[str, int] = {}
    behind: list[str] = []  # names since the last layer
    top = 0
    for name, _ in model.named_parameters():
        place = next((each for each in lists if name.startswith(each + ".")), None)
        if place is None:
            depths[name] = top
            behind.append(name)
            continue
        offset = offsets.setdefault(place, top)
        depths[name] = offset + 1 + int(name[len(place) + 1 :].split(".", 1)[0])
        top = max(top, depths[name])
        behind.clear()
    depths.update(dict.fromkeys(behind, top + 1))
    return depths, top + 1


def first_steps(depths: dict[str, int], head: int, every: int | None) -> dict[str, int]:
    """The step from which each parameter learns: head and top layer at once, then a layer every `every` steps."""
    if every is None:
        return dict.fromkeys(depths, 1)
    top = max((depth for depth in depths.values() if depth < head), default=head)
    return {name: 1 + every * max(0, top - depth) for name, depth in depths.items()}


def _outermost_lists(model: nn.Module) -> list[str]:
    found: list[str] = []
    for name, module in model.named_modules():
        inside = any(name.startswith(each + ".") for each in found)
        if isinstance(module, nn.ModuleList) and not inside and any(True for _ in module.parameters()):
            found.append(name)
    return found


def _embeddings(model: nn.Module) -> list[nn.Module]:
    """Look-up tables and the output layer, whose rows are words and no hidden features."""
    found = [module for module in model.modules() if isinstance(module, nn.Embedding)]
    output = getattr(model, "get_output_embeddings", lambda: None)()
    return [*found, output] if isinstance(output, nn.Module) else list(found)
