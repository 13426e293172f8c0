"""Steps that need a model: length in tokens, and translation there and back by a tiny real encoder-decoder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, MarianConfig, MarianMTModel, PreTrainedTokenizerFast, T5Config
from transformers import T5ForConditionalGeneration as T5

from engine.data.library import DataLibrary
from engine.data.step_requests import handlers
from engine.data.steps.back_translate import Translator
from engine.data.steps.versions import DataSteps
from engine.errors import Cancelled, UserError
from engine.home import Home
from engine.messages import DataStep, ListSteps
from engine.service import Errand

ROWS = [{"prompt": "where is it " * (place % 9 + 1), "completion": f"here {place}"} for place in range(40)]


@pytest.fixture(scope="module")
def translator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A T5 with random weights that knows a few words."""
    folder = tmp_path_factory.mktemp("t5")
    words = ["<pad>", "</s>", "<unk>", "where", "is", "it", "here", "the", "a", "of", "to", "in", "on"]
    words += ["我", "你", "他", "de", "le"]
    inner = Tokenizer(models.WordLevel({word: place for place, word in enumerate(words)}, "<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.save_pretrained(folder)
    config = T5Config(
        vocab_size=len(words), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0,
        pad_token_id=0, eos_token_id=1,
    )  # fmt: skip
    torch.manual_seed(0)
    model = T5(config)
    # Random weights would rather say nothing.
    model.generation_config.suppress_tokens = [0, 2]
    model.generation_config.min_new_tokens = 3
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def steps(tiny_home: Home, tmp_path: Path) -> DataSteps:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)), encoding="utf-8")
    DataLibrary(tiny_home).import_files([path], "rows")
    return DataSteps(tiny_home)


def values(home: Home) -> list[dict[str, str]]:
    return list(DataLibrary(home).open("rows").all_values())


def test_rows_are_limited_by_the_tokens_of_a_model(steps: DataSteps, tiny_home: Home, tiny_model: Path):
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)

    def count(row: dict[str, str]) -> int:
        return sum(len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in row.values())

    counts = sorted(map(count, ROWS))
    fewest, most = counts[8], counts[-6]
    step = DataStep("token-length", {"model": "tiny", "min_tokens": fewest, "max_tokens": most})
    preview = steps.preview("rows", step)
    wanted = [row for row in ROWS if fewest <= count(row) <= most]
    assert preview.rows_after == len(wanted) < len(ROWS)
    assert preview.counts == {
        "too_short": sum(each < fewest for each in counts), "too_long": sum(each > most for each in counts)
    }  # fmt: skip
    first = steps.apply("rows", step).hash
    assert values(tiny_home) == wanted
    steps.undo("rows")
    by_folder = DataStep("token-length", step.settings | {"model": str(tiny_model)})
    assert steps.apply("rows", by_folder).hash == first


@pytest.mark.parametrize(("model", "code"), [("", "step-model-needed"), ("nope", "model-not-found")])
def test_a_model_that_is_missing_is_said(steps: DataSteps, model: str, code: str):
    with pytest.raises(UserError) as caught:
        steps.preview("rows", DataStep("token-length", {"model": model}))
    assert (caught.value.code, caught.value.fields["setting"]) == (code, "model"), "said under the setting"


def test_the_models_that_there_are_can_be_chosen(steps: DataSteps, tiny_home: Home):
    answer = handlers(tiny_home, lambda: None)[ListSteps](ListSteps(), Errand(lambda _news: None))
    kinds = {kind.kind: kind for kind in answer.kinds}
    for kind, name in (("token-length", "model"), ("back-translate", "there"), ("back-translate", "back")):
        setting = next(each for each in kinds[kind].settings if each.name == name)
        assert (setting.type, setting.choices) == ("model", ("tiny",))


def test_rows_go_to_another_language_and_back(steps: DataSteps, tiny_home: Home, translator: Path):
    steps.apply("rows", DataStep("split", {"test": 0.2, "seed": 3}))
    before = values(tiny_home)
    settings = {"there": str(translator), "back": str(translator), "share": 1.0}
    seen: list[tuple[str, int]] = []
    info = steps.apply(
        "rows", DataStep("back-translate", settings), lambda phase, done, *_: seen.append((phase, done))
    )
    after = values(tiny_home)
    made = after[len(before) :]
    assert after[: len(before)] == before
    assert made
    assert {row["augmented"] for row in made} == {"back-translation"}
    assert {row["split"] for row in made} == {"train"}
    assert {row["completion"] for row in made} <= {row["completion"] for row in before}, "answers stay"
    assert not {row["prompt"] for row in made} & {row["prompt"] for row in before}
    assert ("writing", 16) in seen
    first = info.hash
    steps.undo("rows")
    assert steps.apply("rows", DataStep("back-translate", settings)).hash == first, "the same every time"


def test_it_can_be_cancelled(steps: DataSteps, tiny_home: Home, translator: Path):
    hash = steps.apply("rows", DataStep("split", {})).hash
    settings = {"there": str(translator), "back": str(translator), "share": 1.0}

    def cancel(phase: str, done: int, *_rest: object) -> None:
        if phase == "writing":
            raise Cancelled

    with pytest.raises(Cancelled):
        steps.apply("rows", DataStep("back-translate", settings), cancel)
    assert DataLibrary(tiny_home).info("rows").hash == hash


def test_a_model_that_only_continues_texts_is_refused(steps: DataSteps, tiny_home: Home, translator: Path):
    steps.apply("rows", DataStep("split", {}))
    with pytest.raises(UserError) as caught:
        steps.preview("rows", DataStep("back-translate", {"there": "tiny", "back": str(translator)}))
    assert caught.value.code == "no-translation-model"


def test_a_marian_model_translates_line_by_line(translator: Path, tmp_path: Path):
    folder = tmp_path / "marian"
    shutil.copytree(
        translator, folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json", "generation*")
    )
    config = MarianConfig(
        vocab_size=18, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, pad_token_id=0, eos_token_id=1,
        decoder_start_token_id=0, forced_eos_token_id=1, max_position_embeddings=64, decoder_vocab_size=18,
    )  # fmt: skip
    MarianMTModel(config).save_pretrained(folder)
    model = Translator(folder, 2)
    texts = ["where is it\n\nhere", "here", ""]
    translated = model.translate(texts)
    assert [text.count("\n") for text in translated] == [2, 0, 0]
    assert translated[0].split("\n")[2] == translated[1]
    assert translated == model.translate(texts)
