"""Each strategy against torch's own functions, or against its formula."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from engine.batches import Batch, BatchPlan
from engine.errors import UserError
from engine.kernels.loss import completion_loss
from engine.recipe import Recipe
from engine.strategies.adversarial import Adversary
from engine.strategies.classification_loss import balanced_weights, classification_loss
from engine.strategies.distillation import (
    Distillation,
    binary_distillation_loss,
    chunked_distillation_loss,
    distillation_loss,
    hidden_distance,
)
from engine.strategies.early_stopping import Patience, figure, higher_is_better
from engine.strategies.neftune import add_noise
from engine.strategies.switches import keep_fewer_activations, set_dropout
from engine.strategies.teacher import require_same_labels, require_same_tokens


def tiny_bert(seed: int = 0, width: int = 16) -> Any:
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=40, hidden_size=width, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        num_labels=3,
    )  # fmt: skip
    return BertForSequenceClassification(config)


def tiny_llama(seed: int = 0, width: int = 16, **options: Any) -> Any:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=40, hidden_size=width, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        **options,
    )  # fmt: skip
    return LlamaForCausalLM(config)


# -------------------------------------------------------------------------------------------- losses


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("weighted", [False, True])
def test_without_focus_it_is_cross_entropy(smoothing: float, weighted: bool) -> None:
    torch.manual_seed(0)
    ours = torch.randn(9, 4, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    labels = torch.tensor([0, 1, 2, 3, -100, 1, 1, 0, 2])
    weights = torch.tensor([0.5, 1.0, 2.0, 4.0]) if weighted else None
    found = classification_loss(ours, labels, class_weights=weights, label_smoothing=smoothing)
    expected = functional.cross_entropy(
        theirs, labels, weight=weights, label_smoothing=smoothing, reduction="sum"
    )
    found.backward()
    expected.backward()
    assert float(found.detach()) == pytest.approx(float(expected.detach()), abs=1e-6)
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-6, rtol=0)


def test_focal_loss_is_its_formula() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 4, requires_grad=True), torch.tensor([0, 1, 2, 3, 1, 1])
    p = logits.softmax(dim=-1)[range(6), labels]
    expected = ((1 - p) ** 2 * -p.log()).sum()
    found = classification_loss(logits, labels, focal_gamma=2.0)
    assert float(found.detach()) == pytest.approx(float(expected.detach()), abs=1e-6)
    ours, theirs = (torch.autograd.grad(each, logits, retain_graph=True)[0] for each in (found, expected))
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def test_focal_loss_of_a_certain_row_has_a_finite_slope() -> None:
    logits = torch.tensor([[80.0, -80.0]], requires_grad=True)
    classification_loss(logits, torch.tensor([0]), focal_gamma=0.5).backward()
    assert torch.isfinite(logits.grad).all()


def test_several_labels_are_binary_cross_entropy() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 4), torch.randint(0, 2, (6, 4)).float()
    expected = functional.binary_cross_entropy_with_logits(logits, labels) * 6
    assert float(classification_loss(logits, labels)) == pytest.approx(float(expected), abs=1e-6)
    smooth = functional.binary_cross_entropy_with_logits(logits, labels * 0.8 + 0.1) * 6
    assert float(classification_loss(logits, labels, label_smoothing=0.2)) == pytest.approx(
        float(smooth), abs=1e-6
    )
    p = torch.where(labels > 0, logits.sigmoid(), 1 - logits.sigmoid())
    focal = ((1 - p) ** 2 * -p.log()).mean(dim=-1).sum()
    assert float(classification_loss(logits, labels, focal_gamma=2.0)) == pytest.approx(
        float(focal), abs=1e-5
    )


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    labels = [0] * 10 + [1] * 3 + [2] * 1
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    weights = balanced_weights([10, 3, 1])
    assert weights.tolist() == pytest.approx(expected.tolist())
    assert float(weights[torch.tensor(labels)].mean()) == pytest.approx(1.0)
    assert balanced_weights([2, 0, 2]).tolist() == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_the_chunked_loss_smooths_as_cross_entropy_does(smoothing: float) -> None:
    torch.manual_seed(0)
    hidden, head = torch.randn(3, 200, 8), torch.randn(30, 8)
    labels = torch.randint(0, 30, (3, 200))
    labels[0, :50] = -100
    ours = [each.clone().requires_grad_() for each in (hidden, head)]
    theirs = [each.clone().requires_grad_() for each in (hidden, head)]
    found = completion_loss(ours[0], ours[1], labels, label_smoothing=smoothing)
    expected = functional.cross_entropy(
        (theirs[0] @ theirs[1].T).flatten(0, 1), labels.flatten(), label_smoothing=smoothing, reduction="sum"
    )
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
    found.backward()
    expected.backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-4, rtol=1e-5)


# --------------------------------------------------------------------------------------------- noise


def test_noise_is_bounded_repeatable_and_gone_when_judging() -> None:
    model = tiny_llama()
    ids = torch.randint(0, 40, (2, 10))
    plain = model.get_input_embeddings()(ids)
    handle = add_noise(model, 5.0)
    model.train()
    torch.manual_seed(7)
    first = model.get_input_embeddings()(ids)
    torch.manual_seed(7)
    assert torch.equal(first, model.get_input_embeddings()(ids))
    noise, bound = (first - plain).detach(), 5.0 / math.sqrt(10 * 16)
    assert float(noise.abs().max()) <= bound
    assert float(noise.std()) == pytest.approx(bound / math.sqrt(3), rel=0.1)
    model.eval()
    assert torch.equal(model.get_input_embeddings()(ids), plain)
    handle.remove()
    model.train()
    assert torch.equal(model.get_input_embeddings()(ids), plain)


def tiny_bart() -> Any:
    config = BartConfig(
        vocab_size=40, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, max_position_embeddings=64,
    )  # fmt: skip
    return BartForConditionalGeneration(config)


def test_noise_reaches_every_kind_of_model() -> None:
    """T5 and BART name a table of embeddings that they never call."""
    from peft import LoraConfig, get_peft_model

    adapted = get_peft_model(tiny_t5(), LoraConfig(target_modules=["q", "v"]))
    for model in (tiny_llama(), tiny_gpt2(), tiny_t5(), tiny_bart(), adapted):
        set_dropout(model, 0.0)
        model.train()
        ids = torch.randint(3, 40, (2, 6))
        inputs = {"input_ids": ids} | ({"decoder_input_ids": ids} if model.config.is_encoder_decoder else {})
        plain = model(**inputs).logits
        assert torch.equal(plain, model(**inputs).logits)
        add_noise(model, 5.0)
        assert not torch.equal(plain, model(**inputs).logits), type(model).__name__


# ---------------------------------------------------------------------------------------- adversaries


def closure(model: Any, ids: Tensor, labels: Tensor) -> Any:
    return lambda: functional.cross_entropy(model(input_ids=ids).logits, labels)


@pytest.mark.parametrize("kind", ["fgm", "pgd"])
@pytest.mark.parametrize("frozen", [False, True])
def test_the_embeddings_come_back_bit_for_bit(kind: str, frozen: bool) -> None:
    model = tiny_bert().eval()
    weight = model.get_input_embeddings().weight
    weight.requires_grad_(not frozen)
    weight.grad = None if frozen else torch.zeros_like(weight)
    kept = weight.grad
    before = weight.detach().clone()
    loss = closure(model, torch.randint(0, 40, (4, 6)), torch.tensor([0, 1, 2, 0]))
    plain = Adversary(kind, 1.0, 3).backward(model, loss)
    assert float(plain) == pytest.approx(float(loss().detach()))
    assert torch.equal(weight.detach(), before)
    assert weight.requires_grad is not frozen
    assert weight.grad is kept, "the optimizer's own buffer stays in its place"


def test_fgm_is_the_usual_recipe() -> None:
    """The gradients are those of: backward, push the table by epsilon x g/|g|, backward, restore."""
    ours, theirs = tiny_bert().eval(), tiny_bert().eval()
    ids, labels = torch.randint(0, 40, (4, 6)), torch.tensor([0, 1, 2, 0])
    for each in ours.parameters():
        each.grad = torch.zeros_like(each)
    Adversary("fgm", 0.7, 1).backward(ours, closure(ours, ids, labels))

    table = theirs.get_input_embeddings().weight
    closure(theirs, ids, labels)().backward()
    before = table.detach().clone()
    table.data.add_(table.grad / table.grad.norm(), alpha=0.7)
    closure(theirs, ids, labels)().backward()
    table.data.copy_(before)
    for (name, a), (_, b) in zip(ours.named_parameters(), theirs.named_parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)


@pytest.mark.parametrize("kind", ["fgm", "pgd"])
def test_the_push_hurts_and_stays_within_its_bound(kind: str) -> None:
    model = tiny_bert().eval()
    weight = model.get_input_embeddings().weight
    before = weight.detach().clone()
    loss = closure(model, torch.randint(0, 40, (4, 6)), torch.tensor([0, 1, 2, 0]))
    seen: list[tuple[float, float]] = []

    def watched() -> Tensor:
        value = loss()
        seen.append((float((weight.detach() - before).norm()), float(value.detach())))
        return value

    Adversary(kind, 0.5, 4).backward(model, watched)
    assert seen[0][0] == 0.0
    assert all(distance <= 0.5 + 1e-5 for distance, _ in seen)
    assert seen[-1][1] > seen[0][1], "the pushed input is harder"
    assert len(seen) == (2 if kind == "fgm" else 5)


def test_a_model_without_a_table_is_refused() -> None:
    with pytest.raises(UserError, match="no table of word embeddings"):
        Adversary("fgm", 1.0, 1).backward(nn.Linear(2, 2), lambda: torch.zeros(()))


# ------------------------------------------------------------------------------------------- switches


def tiny_gpt2() -> Any:
    return GPT2LMHeadModel(GPT2Config(vocab_size=40, n_embd=16, n_layer=1, n_head=2))


def tiny_t5() -> Any:
    config = T5Config(vocab_size=40, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    return T5ForConditionalGeneration(config)


@pytest.mark.parametrize("make", [tiny_bert, tiny_gpt2, tiny_t5])
def test_without_dropout_training_is_deterministic(make: Any) -> None:
    model = make().train()
    ids = torch.randint(0, 40, (2, 5))
    inputs = {"input_ids": ids} | ({"decoder_input_ids": ids} if make is tiny_t5 else {})
    assert not torch.equal(model(**inputs).logits, model(**inputs).logits)
    assert set_dropout(model, 0.0) > 0
    assert torch.equal(model(**inputs).logits, model(**inputs).logits)
    assert set_dropout(model, 0.3) > 0
    assert not torch.equal(model(**inputs).logits, model(**inputs).logits)


def test_attention_gets_dropout_where_a_model_had_none_and_adapters_keep_theirs() -> None:
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(tiny_llama(), LoraConfig(target_modules="all-linear", lora_dropout=0.25))
    set_dropout(model, 0.5)
    own = [module.p for name, module in model.named_modules() if name.endswith("lora_dropout.default")]
    assert set(own) == {0.25}
    assert model.base_model.model.model.layers[0].self_attn.attention_dropout == 0.5
    assert model.base_model.model.config.attention_dropout == 0.5


def test_fewer_activations_give_the_same_gradients() -> None:
    plain, lean = tiny_llama().train(), tiny_llama().train()
    ids = torch.randint(0, 40, (2, 9))
    keep_fewer_activations(lean)
    for model in (plain, lean):
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    for a, b in zip(plain.parameters(), lean.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)
    assert lean.model.layers[0].gradient_checkpointing


def test_a_model_that_cannot_is_refused() -> None:
    with pytest.raises(UserError, match="cannot compute its activations twice"):
        keep_fewer_activations(nn.Linear(2, 2))


# -------------------------------------------------------------------------------------- early stopping


def test_which_way_is_better() -> None:
    assert not any(map(higher_is_better, ("val_loss", "loss", "perplexity", "eval_loss", "ece")))
    assert all(map(higher_is_better, ("accuracy", "f1_macro", "bleu", "spearman")))


def test_patience_ends_after_so_many_without_a_better_value() -> None:
    patience = Patience()
    ends = []
    for value in (3.0, 2.0, 2.5, 2.0, 1.9, 2.0, float("nan"), 2.0):
        patience = patience.after(value, higher_is_better=False)
        ends.append(patience.is_over(3))
    assert ends == [False] * 7 + [True]
    assert patience == Patience(3, 1.9)
    assert not patience.is_over(None)


@pytest.mark.parametrize(
    ("wished", "measured"),
    [("accuracy", "subset_accuracy"), ("subset_accuracy", "accuracy"), ("spearman", "recall_at_1"), ("mrr", "pearson")],
)  # fmt: skip
def test_a_figure_of_other_rows_is_no_figure(wished: str, measured: str) -> None:
    """Else no checkpoint would ever be the best, and early stopping would end every run."""
    with pytest.raises(UserError, match=f"Choose one of val_loss, {measured}") as refusal:
        figure(wished, 1.5, {measured: 0.5})
    assert refusal.value.code == "metric-unknown"


def test_the_figure_that_decides() -> None:
    assert figure("val_loss", 1.5, {"accuracy": 0.5}) == 1.5
    assert figure("accuracy", 1.5, {"accuracy": 0.5}) == 0.5
    assert figure("auc", 1.5, {"accuracy": 0.5}) is None, "no figure on rows of one class"
    assert figure("perplexity", 1.5, {"token_accuracy": 0.5}) == pytest.approx(math.exp(1.5))
    assert figure("perplexity", None, {}) is None
    with pytest.raises(UserError, match=r"val_loss, accuracy"):
        figure("acuracy", 1.5, {"accuracy": 0.5})


# ------------------------------------------------------------------------------------------ curriculum


@pytest.mark.parametrize("grouped", [False, True])
def test_the_first_epoch_goes_from_short_to_long(grouped: bool) -> None:
    lengths = torch.randint(3, 60, (50,), generator=torch.Generator().manual_seed(0)).tolist()
    options: dict[str, Any] = {"micro_batch_size": 4, "gradient_accumulation_steps": 2, "seed": 3}

    def plan(shortest_first: bool) -> BatchPlan:
        return BatchPlan(lengths, group_by_length=grouped, shortest_first=shortest_first, **options)

    taught, usual = plan(True), plan(False)
    epoch = taught.steps_per_epoch
    seen = [i for step in range(1, epoch + 1) for micro in taught.step(step) for i in micro]
    assert [lengths[i] for i in seen] == sorted(lengths)
    assert sorted(seen) == list(range(50))
    assert [taught.step(s) for s in range(epoch + 1, 2 * epoch + 1)] == [
        usual.step(s) for s in range(epoch + 1, 2 * epoch + 1)
    ]
    assert plan(True).step(3) == taught.step(3), "a function of seed and step alone"


# ---------------------------------------------------------------------------------------- distillation


def test_the_distance_is_kl_with_temperature() -> None:
    torch.manual_seed(0)
    ours, theirs = torch.randn(5, 7), torch.randn(5, 7)
    p, q = (theirs / 3).softmax(dim=-1), (ours / 3).softmax(dim=-1)
    expected = (p * (p.log() - q.log())).sum() * 9
    assert float(distillation_loss(ours, theirs, temperature=3.0)) == pytest.approx(float(expected), rel=1e-5)
    assert float(distillation_loss(theirs, theirs, temperature=3.0)) == pytest.approx(0.0, abs=1e-6)
    p, q = (theirs / 3).sigmoid(), (ours / 3).sigmoid()
    each = p * (p.log() - q.log()) + (1 - p) * ((1 - p).log() - (1 - q).log())
    binary = binary_distillation_loss(ours, theirs, temperature=3.0)
    assert float(binary) == pytest.approx(float(each.mean(dim=-1).sum() * 9), rel=1e-4)


def test_in_chunks_it_is_the_same_with_the_same_gradients() -> None:
    torch.manual_seed(0)
    hidden, head = torch.randn(600, 8), torch.randn(30, 8)
    states, teacher_head = torch.randn(600, 12), torch.randn(34, 12)  # four rows of padding
    ours = [each.clone().requires_grad_() for each in (hidden, head)]
    theirs = [each.clone().requires_grad_() for each in (hidden, head)]
    found = chunked_distillation_loss(ours[0], ours[1], states, teacher_head, temperature=2.0)
    expected = distillation_loss(theirs[0] @ theirs[1].T, states @ teacher_head.T, temperature=2.0)
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    (found * 0.3).backward()
    (expected * 0.3).backward()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=2e-4, rtol=1e-4)


def lm_batch() -> Batch:
    ids = torch.randint(0, 40, (2, 8), generator=torch.Generator().manual_seed(0))
    labels = ids.roll(-1, dims=1).clone()
    labels[:, -1] = -100
    labels[0, :3] = -100
    return Batch(inputs={"input_ids": ids}, labels=labels, rows=(0, 1), num_tokens=16, num_targets=11)


@pytest.mark.parametrize("whole", [False, True])
def test_a_decoder_learns_from_a_teacher_of_another_width(whole: bool) -> None:
    """Whether the student's logits are made whole or its hidden states alone are: the same mixed loss."""
    student, teacher = tiny_llama(0).train(), tiny_llama(1, width=24)
    batch = lm_batch()
    recipe = Recipe(distill_weight=0.25, distill_temperature=2.0, teacher="big")
    distillation = Distillation(student, teacher, recipe)
    (student if whole else student.model)(**batch.inputs, use_cache=False)
    found = distillation.mixed(torch.tensor(8.0), batch)
    wanted = batch.labels != -100
    far = distillation_loss(
        student(**batch.inputs).logits[wanted], teacher(**batch.inputs).logits[wanted], temperature=2.0
    )
    assert float(found.detach()) == pytest.approx(0.75 * 8.0 + 0.25 * float(far.detach()), rel=1e-5)
    found.backward()
    assert all(each.grad is None for each in teacher.parameters())
    assert student.model.layers[0].mlp.up_proj.weight.grad.abs().sum() > 0


def test_hidden_states_are_compared_where_widths_are_equal() -> None:
    student, teacher = tiny_llama(0).train(), tiny_llama(1)
    batch = lm_batch()
    distillation = Distillation(student, teacher, Recipe(distill_weight=1.0, distill_hidden=1.0, teacher="t"))
    hidden = student.model(**batch.inputs).last_hidden_state
    found = distillation.mixed(torch.tensor(8.0), batch)
    wanted = batch.labels != -100
    apart = (hidden - teacher.model(**batch.inputs).last_hidden_state).square().mean(dim=-1)
    expected = apart[wanted].sum()
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float(hidden_distance(hidden, hidden, wanted).detach()) == 0.0
    with pytest.raises(UserError, match="24 wide"):
        Distillation(tiny_llama(), tiny_llama(1, width=24), Recipe(distill_hidden=0.5, teacher="t"))


def test_a_classifier_learns_what_its_teacher_says() -> None:
    student, teacher = tiny_bert(0), tiny_bert(1)
    set_dropout(student, 0.0)
    student.train()
    ids = torch.randint(0, 40, (16, 6))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    labels = torch.zeros(16, dtype=torch.long)
    batch = Batch(inputs=inputs, labels=labels, rows=tuple(range(16)), num_tokens=96, num_targets=16)
    distillation = Distillation(student, teacher, Recipe(distill_weight=1.0, teacher="t"))
    optimizer = torch.optim.Adam(student.parameters(), lr=3e-3)
    losses = []
    for _ in range(20):
        logits = student(**inputs).logits
        loss = distillation.mixed(functional.cross_entropy(logits, labels, reduction="sum"), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


def test_a_teacher_with_other_labels_or_tokens_is_refused() -> None:
    with pytest.raises(UserError, match="tuned on the same labels"):
        require_same_labels(["a", "b", "c"], ["b", "a", "c"], name="t")
    require_same_labels(["a", "b", "c"], ["a", "b", "c"], name="t")

    class Cuts:
        def __init__(self, *pieces: str) -> None:
            self._pieces = pieces

        def get_vocab(self) -> dict[str, int]:
            return {piece: i for i, piece in enumerate(self._pieces)}

    require_same_tokens(Cuts("a", "b"), Cuts("a", "b"), name="t")
    with pytest.raises(UserError, match="other tokens"):
        require_same_tokens(Cuts("a", "b"), Cuts("b", "a"), name="t")
