"""What a generated token may cost, counted in operations: seconds differ from machine to machine, counts do not.

A token's cost is the difference of a longer and a shorter reply, so that what a prompt costs is left out.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from engine.generation import llama_decoder
from engine.generation.generate import BatchWriter, Generator
from engine.generation.one_row import one_row_product
from engine.messages import SamplingSettings
from tests.numerics.test_step_counts import Counting

PRODUCTS = ("linear", "_linear_pointwise", "mm", "addmm", "one row")
# What makes the program wait for the numbers: reading one, asking whether something holds, making a list.
WAITS = ("item", "_local_scalar_dense", "is_nonzero", "resolve_neg")
COPIES = ("cat", "index_select", "repeat", "repeat_interleave")
ROWS = [[5, 6, 7], [5, 6, 7, 8, 9]]
COMPILED: Counter[str] = Counter()  # calls of the product that torch does not see


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=str)
def generator(tiny_model: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Generator:
    """A reply of it never ends of itself."""
    monkeypatch.setattr(llama_decoder, "one_row_product", counted_product)
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=request.param)
    made = Generator(model, AutoTokenizer.from_pretrained(tiny_model))
    made.end_ids = frozenset()
    return made


def counted_product(*what: Any) -> Any:
    product = one_row_product(*what)

    def counted(x: torch.Tensor) -> torch.Tensor:
        COMPILED["one row"] += len(x) == 1  # with several rows it calls an operation that torch sees
        return product(x)

    return product and counted


def calls_per_token(generator: Generator, *, in_a_batch: bool = False, after: int = 8) -> Counter[str]:
    """How often each operation runs for one more token, once `after` have come."""
    few, many = (calls(generator, after + more, in_a_batch=in_a_batch) for more in (0, 10))
    found: Counter[str] = Counter()
    for name in many.keys() | few.keys():
        each, rest = divmod(many[name] - few[name], 10)
        assert rest == 0, f"{name} is not called equally often for every token"
        found[name] = each
    return found


def calls(generator: Generator, num_tokens: int, *, in_a_batch: bool) -> Counter[str]:
    generator._begun = None  # a prompt that was read before would be taken up again
    writer = BatchWriter(generator.model, generator.tokenizer, generator._packed)
    writer._ends = frozenset()
    COMPILED.clear()
    with Counting() as counting, torch.inference_mode():
        if in_a_batch:
            writer.write(ROWS, num_tokens, lambda done, total: None)
        else:
            generator.complete("Hello there", SamplingSettings(temperature=0.0, max_new_tokens=num_tokens))
    return counting.calls + COMPILED


def number_of(found: Counter[str], names: tuple[str, ...]) -> int:
    return sum(found[name] for name in names)


def num_layers(generator: Generator) -> int:
    return int(generator.model.config.num_hidden_layers)


@pytest.mark.parametrize("in_a_batch", [False, True], ids=["one", "batch"])
def test_a_token_costs_four_products_a_layer_and_no_growing_copies(
    generator: Generator, in_a_batch: bool
) -> None:
    """Queries, keys and values are one product, gate and up another; keys and values are written where they stay."""
    assert generator._packed is not None
    found = calls_per_token(generator, in_a_batch=in_a_batch)
    assert number_of(found, PRODUCTS) == 4 * num_layers(generator) + 1
    attention = 2 * found["scaled_dot_product_attention"] + found["matmul"] + found["bmm"] + found["baddbmm"]
    assert attention == 2 * num_layers(generator)
    assert number_of(found, COPIES) == 0
    assert found["copy_"] <= 2 * num_layers(generator) + 2
    assert found["argmax"] == 1


def test_only_the_token_itself_is_waited_for(generator: Generator) -> None:
    """On the way that a GPU takes: nothing but the chosen token is read back, once."""
    generator._packed = None
    found = calls_per_token(generator)
    assert number_of(found, WAITS) == 1
    assert number_of(found, PRODUCTS) == 7 * num_layers(generator) + 1
    batch = calls_per_token(generator, in_a_batch=True)
    assert (
        batch["item"] == 0 and number_of(batch, WAITS) <= 2
    )  # the tokens as a list, and transformers' own mask


def test_a_packed_token_waits_for_little(generator: Generator) -> None:
    """Whether the texts begin at one place is asked of numbers that are here already."""
    assert calls_per_token(generator)["item"] == 1
    for in_a_batch in (False, True):
        assert number_of(calls_per_token(generator, in_a_batch=in_a_batch), WAITS) <= 3


def test_a_late_token_costs_as_many_operations_as_an_early_one(generator: Generator) -> None:
    assert generator._packed is not None
    generator._packed.angles(200)  # the table of angles grows by doubling, now and then
    assert calls_per_token(generator, after=8) == calls_per_token(generator, after=60)


def test_counting_sees_a_token_that_costs_more(generator: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard itself: without packed weights, and with a cache that grows by copies, the counts are others."""
    packed = calls_per_token(generator)
    monkeypatch.setattr(generator, "_packed", None)
    plain: Any = calls_per_token(generator)
    assert number_of(plain, PRODUCTS) > number_of(packed, PRODUCTS)
    assert number_of(plain, COPIES) > 0
