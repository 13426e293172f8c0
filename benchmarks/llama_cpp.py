"""The mark to reach: llama.cpp on the starter's GGUF file, as it lies and with its weights in bfloat16.

In bfloat16 both sides read the same numbers: the library's weights are those of the file, dequantised and rounded once.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from engine.llama_cpp import GgufGenerator
from engine.messages import ChatMessage, SamplingSettings


class LlamaCpp:
    """One reply at a time to the same prompts. Without the bindings or a file there are no figures, and a reason."""

    def __init__(self, gguf: Path | None, work: Path, *, num_threads: int) -> None:
        """`work` is an empty folder for the file in bfloat16."""
        self.missing = ""
        self._models: dict[str, GgufGenerator] = {}
        self._runs: dict[str, list[dict[str, float]]] = {}
        if gguf is None:
            self.missing = "No GGUF file was named: --gguf FILE."
        elif find_spec("llama_cpp") is None:
            self.missing = 'llama.cpp is not installed: pip install "tunebench[llama-cpp]"'
        else:
            self._models = {"as_it_lies": GgufGenerator.load(gguf)}
            self._models["bfloat16"] = GgufGenerator.load(in_bfloat16(gguf, work / "bfloat16.gguf"))
        for name, model in self._models.items():
            model.num_threads = num_threads
            self._runs[name] = []
            model.reply([ChatMessage("user", "Hello?")], SamplingSettings(temperature=0.0, max_new_tokens=4))

    def turn(self, questions: Sequence[str], new_tokens: int) -> None:
        """Have each file answer each question once."""
        settings = SamplingSettings(temperature=0.0, max_new_tokens=new_tokens)
        for name, model in self._models.items():
            replies = [model.reply([ChatMessage("user", asked)], settings) for asked in questions]
            self._runs[name].append({
                "tokens_per_second": sum(r.num_new_tokens for r in replies) / sum(r.seconds for r in replies),
                "first_token_s": statistics.median(reply.first_token_s for reply in replies),
            })  # fmt: skip

    def result(self, ours: Sequence[float]) -> dict[str, Any] | None:
        """Medians of each file with all its runs, and `ratios`: ours over its tokens/s, turn by turn; None without."""
        if not self._models:
            return None
        found = {}
        for name, runs in self._runs.items():
            rates = [run["tokens_per_second"] for run in runs]
            found[name] = {
                "file": self._models[name].title,
                "tokens_per_second": statistics.median(rates),
                "first_token_s": statistics.median(run["first_token_s"] for run in runs),
                "ratios": [mine / its for mine, its in zip(ours, rates, strict=False)],
                "runs": runs,
            }
        return found


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
