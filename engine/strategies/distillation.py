"""Distillation: a frozen teacher sees the same rows, and the student learns to answer as it does.

The student's side is taken from the forward pass of the task's own loss, by hooks: nothing is computed twice.

Shapes: B batch, T time, D student's width, E teacher's width, V vocabulary or classes, N selected positions.
Source: Hinton et al. 2015; hidden states as in Sanh et al. 2019, by their squared distance.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from engine.batches import Batch
from engine.errors import UserError
from engine.kernels.loss import CHUNK_TOKENS, IGNORE_INDEX
from engine.recipe import Recipe


class _Watch:
    """What a model computed last: the states of its last layer, and its logits where they were made whole.

    What it computes while it `is_training` or is judged, whichever is asked for; the rest is passed over.
    """

    def __init__(self, model: Any, *, is_training: bool) -> None:
        self.hidden_BTD: Tensor | None = None
        self.logits: Tensor | None = None
        self._is_training = is_training
        model.register_forward_hook(self._take_logits)
        _body(model).register_forward_hook(self._take_hidden)

    def forget(self) -> None:
        """So that no graph outlives its micro batch."""
        self.hidden_BTD = self.logits = None

    def _take_logits(self, module: Any, inputs: Any, output: Any) -> None:
        if module.training is self._is_training:
            self.logits = getattr(output, "logits", None)

    def _take_hidden(self, module: Any, inputs: Any, output: Any) -> None:
        if module.training is self._is_training:
            self.hidden_BTD = output.last_hidden_state


class Distillation:
    """Mixes a task's loss with the distance to a teacher, which is put to eval mode and frozen for good."""

    def __init__(self, student: Any, teacher: Any, recipe: Recipe) -> None:
        """Raises UserError "teacher-unfit" where hidden states are compared and their widths differ."""
        self._recipe = recipe
        self._student, self._teacher = _plain(student), _plain(teacher).eval().requires_grad_(False)
        _require_same_width(self._student, self._teacher, recipe)
        self._ours = _Watch(self._student, is_training=True)
        self._theirs = _Watch(self._teacher, is_training=False)

    def mixed(self, task_loss: Tensor, batch: Batch) -> Tensor:
        """The task's summed loss and the teacher's part, by the recipe's weights.

        To be called right after the student's forward pass on `batch`.
        """
        recipe, ours, theirs = self._recipe, self._ours, self._theirs
        self._ask_teacher(batch, whole=ours.logits is not None)
        assert ours.hidden_BTD is not None and theirs.hidden_BTD is not None
        soft = torch.zeros((), device=task_loss.device)
        if recipe.distill_hidden < 1:
            soft = (1 - recipe.distill_hidden) * self._answers(batch)
        if recipe.distill_hidden:
            hidden_BTD = _behind_prompt(ours.hidden_BTD, batch)
            soft = soft + recipe.distill_hidden * hidden_distance(
                hidden_BTD, theirs.hidden_BTD, _weights(batch)
            )
        ours.forget()
        theirs.forget()
        return (1 - recipe.distill_weight) * task_loss + recipe.distill_weight * soft

    @torch.no_grad()
    def _ask_teacher(self, batch: Batch, *, whole: bool) -> None:
        asked = self._teacher if whole else _body(self._teacher)
        asked(**batch.inputs, **_no_cache(self._teacher))

    def _answers(self, batch: Batch) -> Tensor:
        """How far the student's probabilities are from the teacher's, on what is trained."""
        temperature, ours, theirs = self._recipe.distill_temperature, self._ours, self._theirs
        assert ours.hidden_BTD is not None and theirs.hidden_BTD is not None
        if batch.labels.is_floating_point():  # several labels may hold
            assert ours.logits is not None and theirs.logits is not None
            return binary_distillation_loss(ours.logits, theirs.logits, temperature=temperature)
        if batch.labels.ndim == 1:  # one answer a row
            assert ours.logits is not None and theirs.logits is not None
            return distillation_loss(ours.logits, theirs.logits, temperature=temperature)
        wanted_BT = batch.labels != IGNORE_INDEX
        if ours.logits is not None and theirs.logits is not None:
            logits_BTV = _behind_prompt(ours.logits, batch)
            return distillation_loss(logits_BTV[wanted_BT], theirs.logits[wanted_BT], temperature=temperature)
        return chunked_distillation_loss(
            _behind_prompt(ours.hidden_BTD, batch)[wanted_BT], self._student.get_output_embeddings().weight,
            theirs.hidden_BTD[wanted_BT], self._teacher.get_output_embeddings().weight,
            temperature=temperature,
        )  # fmt: skip


def distillation_loss(student_NV: Tensor, teacher_NV: Tensor, *, temperature: float) -> Tensor:
    """KL(teacher || student) of softened probabilities x temperature², summed over rows; a float32 scalar.

    Both logits are cut to the shorter vocabulary: what a model has beyond its tokens is padding.
    """
    width = min(student_NV.shape[-1], teacher_NV.shape[-1])
    ours = functional.log_softmax(student_NV[..., :width].float() / temperature, dim=-1)
    theirs = functional.log_softmax(teacher_NV[..., :width].float() / temperature, dim=-1)
    return functional.kl_div(ours, theirs, log_target=True, reduction="sum") * temperature**2


def binary_distillation_loss(student_NC: Tensor, teacher_NC: Tensor, *, temperature: float) -> Tensor:
    """The same for classes that are each a yes or no: a row's mean over the classes; summed over rows."""
    ours_NC, theirs_NC = student_NC.float() / temperature, teacher_NC.float() / temperature
    wanted_NC = theirs_NC.sigmoid()
    cross_NC = functional.binary_cross_entropy_with_logits(ours_NC, wanted_NC, reduction="none")
    own_NC = functional.binary_cross_entropy_with_logits(theirs_NC, wanted_NC, reduction="none")
    return (cross_NC - own_NC).mean(dim=-1).sum() * temperature**2


def chunked_distillation_loss(
    hidden_ND: Tensor, head_VD: Tensor, states_NE: Tensor, teacher_head_VE: Tensor, *, temperature: float
) -> Tensor:
    """`distillation_loss` of hidden states times heads, without the (N, V) logits of either side."""
    loss: Tensor = _ChunkedDistillation.apply(hidden_ND, head_VD, states_NE, teacher_head_VE, temperature)
    return loss


def hidden_distance(student_BTD: Tensor, teacher_BTD: Tensor, weights_BT: Tensor) -> Tensor:
    """Squared distance, a mean over the width; summed over positions by their weights."""
    each_BT = (student_BTD.float() - teacher_BTD.float()).square().mean(dim=-1)
    return (each_BT * weights_BT).sum()


class _ChunkedDistillation(torch.autograd.Function):
    """As in engine.kernels.loss: both gradients are computed while a chunk's logits exist. The teacher gets none."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_ND: Tensor,
        head_VD: Tensor,
        states_NE: Tensor,
        teacher_VE: Tensor,
        temperature: float,
    ) -> Tensor:
        wants_hidden, wants_head, *_ = ctx.needs_input_grad
        width = min(len(head_VD), len(teacher_VE))
        total = torch.zeros((), dtype=torch.float32, device=hidden_ND.device)
        grad_hidden_ND = torch.zeros_like(hidden_ND) if wants_hidden else None
        grad_head_VD = torch.zeros_like(head_VD) if wants_head else None
        for start in range(0, len(hidden_ND), CHUNK_TOKENS):
            chunk = slice(start, start + CHUNK_TOKENS)
            logits_CV = (hidden_ND[chunk] @ head_VD[:width].T).float().div_(temperature)
            ours_CV = torch.log_softmax(logits_CV, dim=-1)
            logits_CV = (states_NE[chunk] @ teacher_VE[:width].T).float().div_(temperature)
            theirs_CV = torch.log_softmax(logits_CV, dim=-1)
            shares_CV = theirs_CV.exp()
            total += (shares_CV * theirs_CV.sub_(ours_CV)).sum() * temperature**2
            slope_CV = ours_CV.exp_().sub_(shares_CV).mul_(temperature).to(hidden_ND.dtype)
            if grad_hidden_ND is not None:
                grad_hidden_ND[chunk] = slope_CV @ head_VD[:width]
            if grad_head_VD is not None:
                grad_head_VD[:width] += slope_CV.T @ hidden_ND[chunk]
        ctx.save_for_backward(grad_hidden_ND, grad_head_VD)
        return total

    @staticmethod
    def backward(ctx: Any, grad_total: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden_ND, grad_head_VD = ctx.saved_tensors
        return (
            None if grad_hidden_ND is None else grad_hidden_ND * grad_total.to(grad_hidden_ND.dtype),
            None if grad_head_VD is None else grad_head_VD * grad_total.to(grad_head_VD.dtype),
            None,
            None,
            None,
        )


def _require_same_width(student: Any, teacher: Any, recipe: Recipe) -> None:
    ours, theirs = student.config.hidden_size, teacher.config.hidden_size
    if recipe.distill_hidden and ours != theirs:
        raise UserError(
            "teacher-unfit",
            "The hidden states of the teacher {teacher} are {theirs} wide, those of the model that learns {ours}; "
            "they cannot be compared. Set the hidden states' weight to 0, or choose a teacher of the same width.",
            teacher=recipe.teacher, theirs=theirs, ours=ours,
        )  # fmt: skip


def _plain(model: Any) -> Any:
    """The transformers model inside of a peft one."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _body(model: Any) -> Any:
    """The model without its head."""
    return model.base_model


def _no_cache(model: Any) -> dict[str, bool]:
    """Decoders would keep keys and values that nobody asks for."""
    return {"use_cache": False} if getattr(model.config, "use_cache", False) else {}


def _behind_prompt(tensor_BTX: Tensor, batch: Batch) -> Tensor:
    """Without the virtual tokens that a soft prompt puts in front of the student's rows."""
    return tensor_BTX[:, -batch.inputs["input_ids"].shape[1] :]


def _weights(batch: Batch) -> Tensor:
    """Of the positions whose hidden states are compared: 1 a trained token; where rows have one answer, 1 a row."""
    ids_BT = batch.inputs["input_ids"]
    if batch.labels.shape == ids_BT.shape and not batch.labels.is_floating_point():
        return (batch.labels != IGNORE_INDEX).float()
    real_BT = batch.inputs.get("attention_mask", torch.ones_like(ids_BT)).float()
    return real_BT / real_BT.sum(dim=1, keepdim=True).clamp(min=1)
