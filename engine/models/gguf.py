"""GGUF -> safetensors, once: weights, tokenizer, chat template, generation settings.

`convert_gguf` starts this module as a child (`python -m engine.models.gguf FILE FOLDER`), because a file from
elsewhere may crash a native library or want a lot of memory, and because a child can be cancelled. Knows
nothing of libraries and downloads.
"""

from __future__ import annotations

import functools
import json
import os
import sys
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.models.folder import Progress, no_progress
from engine.processes import child_command, child_environment, explain_exit
from engine.supervised import require_space, run_child

LOG_NAME = "convert.log"
STAGES_NAME = "convert.stages"
OUTCOME_NAME = "convert.json"
STAGES = ("tokenizer", "weights", "check", "save")

# Read back from the saved tokenizer and compared: words, digits, white space, other scripts, an emoji.
PROBES = (
    "Hello world, it's 2024!",
    "def f(x):\n    return x + 1\n",
    "你好，世界。 Grüße, ça va? 🙂",
    "A  double space and a\ttab",
)
END_OF_TURN_NAMES = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<|end_of_turn|>", "</s>")


def convert_gguf(path: Path, staging: Path, progress: Progress = no_progress) -> Path:
    """Convert a GGUF file into `staging / "model"` (bf16 safetensors) and return that folder.

    `staging` must exist; logs of the conversion lie beside the result. `progress` gets "converting".

    Raises:
        UserError: "gguf-broken", "gguf-refused", "disk-full".
        Cancelled: from `progress`; the child is killed.
    """
    check_head(path)
    require_space(staging, 4 * path.stat().st_size)
    target, stages = staging / "model", staging / STAGES_NAME

    def watch() -> None:
        done = len(stages.read_bytes()) if stages.exists() else 0
        progress("converting", done, len(STAGES), "")

    code = run_child(
        child_command("engine.models.gguf", str(path.absolute()), str(target)),
        folder=staging, log=staging / LOG_NAME, watch=watch,
        environment=child_environment() | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    outcome = staging / OUTCOME_NAME
    if not outcome.exists():
        tail = (staging / LOG_NAME).read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise _refused(path, f"{explain_exit(code)} {' '.join(tail)}".strip())
    refusal = json.loads(outcome.read_text(encoding="utf-8"))
    if refusal:
        raise UserError(refusal["code"], refusal["template"], **refusal["fields"])
    return target


def check_head(path: Path) -> None:
    """That a file begins as GGUF files do. Raises UserError "file-unreadable", "gguf-broken"."""
    try:
        with path.open("rb") as file:
            head = file.read(4)
    except OSError as refusal:
        raise UserError(
            "file-unreadable", "{file} cannot be read: {reason}.", file=str(path), reason=refusal.strerror
        ) from refusal
    if head != b"GGUF":
        raise UserError(
            "gguf-broken",
            "{file} is no GGUF file: it does not begin with GGUF. Download it again.",
            file=path.name,
        )


def _refused(path: Path, reason: str) -> UserError:
    return UserError(
        "gguf-refused",
        "{file} could not be converted: {reason} Try the same model as a folder with safetensors.",
        file=path.name,
        reason=reason if reason.endswith(".") else reason + ".",
    )


# ------------------------------------------------------------------------------------------ in the child


def _convert(path: Path, target: Path) -> None:
    """The child's work. Raises UserError; every stage that is done adds a byte to the file of stages."""
    stages = target.parent / STAGES_NAME
    _read_once()
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    torch.set_num_threads(1)
    folder, name = str(path.parent), path.name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    _stage_done(stages)
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=name, quantization_config=GgufConfig(dequantize=True), dtype=torch.bfloat16
    )
    _stage_done(stages)
    broken = [key for key, weight in model.named_parameters() if not torch.isfinite(weight).all()]
    if broken:
        raise UserError(
            "gguf-not-finite",
            "{file} holds weights that are not numbers, in {tensor} first. Download it again.",
            file=name, tensor=broken[0],
        )  # fmt: skip
    _stage_done(stages)
    _fit_together(model, tokenizer)
    model.save_pretrained(target)
    _save_tokenizer(tokenizer, target)
    _check_tokenizer(tokenizer, AutoTokenizer.from_pretrained(target), name)
    _stage_done(stages)


def _read_once() -> None:
    """Let the reader of the file and the table of names be made once instead of three and 397 times.

    transformers parses the whole file anew for tokenizer, configuration and weights, in pure Python, and
    makes the
    table once for each submodule: 12 of 19 seconds for a 135 M model. Both are pure functions of their
    arguments.
    """
    import gguf

    gguf.GGUFReader = functools.cache(gguf.GGUFReader)
    gguf.get_tensor_name_map = functools.cache(gguf.get_tensor_name_map)


def _fit_together(model: Any, tokenizer: Any) -> None:
    """Make model, tokenizer and generation settings name the same special tokens and the same length."""
    config, generation = model.config, model.generation_config
    config.name_or_path = ""
    context = getattr(config, "max_position_embeddings", None)
    if context:
        tokenizer.model_max_length = min(tokenizer.model_max_length, context)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    ends = [tokenizer.eos_token_id, *_ends_of_turn(tokenizer)]
    ends = list(dict.fromkeys(end for end in ends if end is not None))
    generation.eos_token_id = ends[0] if len(ends) == 1 else ends
    generation.pad_token_id = config.pad_token_id = tokenizer.pad_token_id
    config.eos_token_id = ends[0]


def _ends_of_turn(tokenizer: Any) -> list[int]:
    """Ids of the tokens with which the chat template ends a turn."""
    vocabulary, template = tokenizer.get_vocab(), tokenizer.chat_template or ""
    return [vocabulary[name] for name in END_OF_TURN_NAMES if name in template and name in vocabulary]


def _save_tokenizer(tokenizer: Any, target: Path) -> None:
    """Save it without the traces of the folder that it came from, so that the same file gives the same
    bytes."""
    tokenizer.save_pretrained(target)
    path = target / "tokenizer_config.json"
    settings = json.loads(path.read_text(encoding="utf-8"))
    for key in ("is_local", "local_files_only", "name_or_path"):
        settings.pop(key, None)
    path.write_text(json.dumps(settings, ensure_ascii=False, indent=2), encoding="utf-8")


def _check_tokenizer(made: Any, saved: Any, name: str) -> None:
    """What was saved must read every probe as the file's own tokenizer does, and give the text back."""
    special = saved.eos_token or ""
    for text in (*PROBES, f"{special}between two ends{special}"):
        ids = saved(text, add_special_tokens=False)["input_ids"]
        back = saved.decode(ids, clean_up_tokenization_spaces=False)
        same = ids == made(text, add_special_tokens=False)["input_ids"] and back.strip() == text.strip()
        if not same or (special and text.startswith(special) and ids[0] != saved.eos_token_id):
            raise UserError(
                "gguf-tokenizer",
                "The tokenizer inside {file} does not survive: {text} came back as {result}. Try the same "
                "model as a "
                "folder with safetensors.",
                file=name, text=json.dumps(text, ensure_ascii=False), result=json.dumps(back,
                ensure_ascii=False),
            )  # fmt: skip


def _stage_done(stages: Path) -> None:
    with stages.open("ab") as file:
        file.write(b".")


def main(arguments: list[str]) -> int:
    """`python -m engine.models.gguf FILE FOLDER`: the outcome stands in convert.json beside FOLDER."""
    path, target = map(Path, arguments)
    if os.name == "posix":
        os.nice(5)
    try:
        _convert(path, target)
    except UserError as refusal:
        outcome: dict[str, Any] = {
            "code": refusal.code, "template": refusal.template, "fields": refusal.fields
        }  # fmt: skip
    except Exception as refusal:  # noqa: BLE001 - a file from elsewhere can fail in any way; the user reads the reason
        reason = str(refusal).splitlines()[0] if str(refusal) else type(refusal).__name__
        error = _refused(path, reason)
        outcome = {"code": error.code, "template": error.template, "fields": error.fields}
    else:
        outcome = {}
    part = target.parent / (OUTCOME_NAME + ".part")
    part.write_text(json.dumps(outcome, ensure_ascii=False), encoding="utf-8")
    part.replace(target.parent / OUTCOME_NAME)
    return 1 if outcome else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
