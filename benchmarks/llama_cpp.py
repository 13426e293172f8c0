"""The mark to reach: llama.cpp on the starter's GGUF file, as it lies and with its weights in bfloat16.

In bfloat16 both sides read the same numbers: the library's weights are those of the file, dequantised and rounded once.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.compare import Claim, Figures
from engine.generation.llama_cpp import GgufGenerator
from engine.messages import ChatMessage, SamplingSettings

KINDS = ("tokens_per_second", "first_token_s")


class LlamaCpp:
    """One reply at a time to the same prompts. Without the bindings or a file there are no figures, and a reason."""

    def __init__(self, gguf: Path | None, work: Path, *, num_threads: int) -> None:
        """`work` is an empty folder for the file in bfloat16."""
        self.missing = ""
        self._models: dict[str, GgufGenerator] = {}
        if gguf is None:
            self.missing = "No GGUF file was named: --gguf FILE."
        elif find_spec("llama_cpp") is None:
            self.missing = 'llama.cpp is not installed: pip install "tunebench[llama-cpp]"'
        else:
            self._models["as_it_lies"] = GgufGenerator.load(gguf)
            self._models["bfloat16"] = GgufGenerator.load(
                in_bfloat16(gguf, work / f"{gguf.stem} in bfloat16.gguf")
            )
        for model in self._models.values():
            model.num_threads = num_threads
            model.reply([ChatMessage("user", "Hello?")], SamplingSettings(temperature=0.0, max_new_tokens=4))

    def claims(self) -> list[Claim]:
        """A part of the row for each file; without a limit, for it is the mark and not the peer."""
        return [
            Claim(figure(name), None, part=f"the mark, {name.replace('_', ' ')}", peer=f"llama.cpp, {model.title}")
            for name, model in self._models.items()
        ]  # fmt: skip

    def turn(self, questions: Sequence[str], new_tokens: int) -> Figures:
        """Each file's tokens a second, and seconds to the first, over all questions."""
        settings = SamplingSettings(temperature=0.0, max_new_tokens=new_tokens)
        found: Figures = {}
        for name, model in self._models.items():
            replies = [model.reply([ChatMessage("user", asked)], settings) for asked in questions]
            found[figure(name)] = sum(r.num_new_tokens for r in replies) / sum(r.seconds for r in replies)
            firsts = [reply.first_token_s for reply in replies]
            found[figure(name, "first_token_s")] = statistics.median(firsts)
        return found

    def ours(self, figures: Figures) -> Figures:
        """Our own figures of a turn under the names of the files' figures, so that they make pairs."""
        return {figure(name, kind): figures[kind] for name in self._models for kind in KINDS}

    def column(self, theirs: Figures) -> dict[str, Any] | None:
        """What each file did, out of the medians of the turns; None where `missing` says why."""
        if not self._models:
            return None
        return {
            name: {"file": model.title} | {kind: theirs.get(figure(name, kind)) for kind in KINDS}
            for name, model in self._models.items()
        }


def figure(name: str, kind: str = "tokens_per_second") -> str:
    """What a file's figure is called among those of a turn."""
    return f"llama_cpp_{name}_{kind}"


def in_bfloat16(source: Path, target: Path) -> Path:
    """The same file with its matrices dequantised to bfloat16. Returns `target`."""
    import gguf
    from gguf.quants import dequantize, quantize

    bfloat16 = gguf.GGMLQuantizationType.BF16
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    own = ("general.architecture", "general.file_type", "general.quantization_version")
    for name, field in reader.fields.items():
        if name not in own and not name.startswith("GGUF."):
            kind = field.types[0]
            part = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), kind, sub_type=part)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    for tensor in reader.tensors:
        weight = dequantize(tensor.data, tensor.tensor_type)
        if weight.ndim > 1:
            writer.add_tensor(tensor.name, quantize(weight, bfloat16), raw_dtype=bfloat16)
        else:
            writer.add_tensor(tensor.name, weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return target
