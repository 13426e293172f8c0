"""A real but tiny translator of interface words, English to Chinese, made by the product itself in a few seconds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

VERBS = {
    "Open": "打开", "Close": "关闭", "Save": "保存", "Delete": "删除", "Copy": "复制", "Print": "打印",
    "Search": "搜索", "Move": "移动", "Edit": "编辑", "Share": "分享",
}  # fmt: skip
NOUNS = {
    "file": "文件", "folder": "文件夹", "window": "窗口", "picture": "图片", "message": "消息", "page": "页面",
    "table": "表格", "account": "账户", "report": "报告", "password": "密码",
}  # fmt: skip
NUM_STEPS = 200


def phrases(before: str = "") -> list[dict[str, str]]:
    """The hundred pairs of a verb and a noun; `before` stands before every target."""
    return [
        {"source": f"{verb} the {noun}", "target": f"{before}{VERBS[verb]} {NOUNS[noun]}"}
        for verb in VERBS for noun in NOUNS
    ]  # fmt: skip


def import_rows(home, name: str, rows: list[dict[str, str]]):
    """Rows as a data set of the library, without a file that stays."""
    from engine.data.library import DataLibrary

    file = home.root / f"{name}.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    DataLibrary(home).import_files([str(file)], name)
    file.unlink()


def new_model(home, name: str, **changes):
    """A new model of the library, made in this process: width 64, 2 layers, 4 heads, 400 pieces, 64 tokens."""
    from engine.data.library import DataLibrary
    from engine.messages import CreateModel
    from engine.models.library import ModelLibrary
    from engine.models.new import make_folder

    sizes = {"vocabulary_size": 400, "width": 64, "num_layers": 2, "num_heads": 4, "context_length": 64}
    request = CreateModel(**({"name": name} | sizes | changes))
    folder = make_folder(
        DataLibrary(home).open(request.data), request, home.downloads / name, lambda rows: None
    )
    return ModelLibrary(home).place(folder, title=name, source=f"made:{request.data}", licence="made here")


def make_tiny_translator(home) -> Path:
    """The model "translator" in the home's library: a T5, taught the phrases for some steps. Returns its folder."""
    from engine.assemble import assemble
    from engine.recipe import Recipe
    from tests.numerics.test_training import Recorder

    import_rows(home, "phrases", phrases())
    untaught = Path(new_model(home, "untaught", data="phrases", kind="encoder-decoder").path)
    recipe = Recipe(
        model="untaught", data="phrases", task="seq2seq", method="full", num_steps=NUM_STEPS, learning_rate=3e-3,
        micro_batch_size=16, dtype="float32", max_seq_len=32,
    ).resolved(num_rows=100, num_cores=1)  # fmt: skip
    run = home.root / "teaching"
    run.mkdir()
    assemble(home, recipe, device="cpu", dtype="float32").training(run, Recorder()).run(None)
    folder = home.models / "translator"
    shutil.copytree(untaught, folder)
    shutil.copy(run / "final" / "model.safetensors", folder / "model.safetensors")
    return folder
