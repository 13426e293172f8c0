"""Models come into the library whole or not at all, and the list never opens a weight."""

from __future__ import annotations

import errno
import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.errors import Cancelled, UserError
from engine.home import Home
from engine.models.folder import changed_files, describe, read_header
from engine.models.library import ModelLibrary


@pytest.fixture
def library(home: Home) -> ModelLibrary:
    return ModelLibrary(home)


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    """A model as a person has it: a folder with a blank and Chinese in its path, and files that do not belong."""
    place = tmp_path / "我的 models" / "Tiny Llama"
    shutil.copytree(tiny_model, place)
    (place / "model.json").unlink()
    (place / "pytorch_model.bin").write_bytes(b"pickle")
    (place / "modeling_tiny.py").write_text("raise SystemExit", encoding="utf-8")
    return place


def nothing_half_done(home: Home) -> bool:
    left = [path for path in home.downloads.iterdir() if path.suffix != ".lock"]
    return not left and not any(home.models.iterdir())


def test_a_folder_is_copied_described_and_listed(library, home, folder):
    seen = []
    info = library.add(folder, progress=lambda *news: seen.append(news))
    assert (info.id, info.title, info.kind, info.num_parameters) == (
        "tiny-llama",
        "Tiny Llama",
        "decoder",
        106_048,
    )
    assert info.source == f"folder:{folder}"
    assert library.list() == [info] == [library.info("tiny-llama")]
    kept = {path.name for path in Path(info.path).iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "model.json"} <= kept
    assert not kept & {"pytorch_model.bin", "modeling_tiny.py"}
    assert library.verify("tiny-llama") == []
    reading = [news for news in seen if news[0] == "reading"]
    assert reading[-1][1] == reading[-1][2] > 0
    assert all(before[1] <= after[1] for before, after in itertools.pairwise(reading))


def test_the_same_name_twice_gets_a_number(library, folder):
    assert [library.add(folder, "模型 A").id, library.add(folder, "模型 A").id] == ["模型-a", "模型-a-2"]


def test_a_name_cannot_lead_out_of_the_library(library, home, folder):
    info = library.add(folder, "../../etc/passwd")
    assert Path(info.path).parent == home.models


def test_a_flipped_bit_is_found(library, folder):
    info = library.add(folder)
    weights = Path(info.path) / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert library.verify(info.id) == ["model.safetensors"]


def test_a_sharded_model_is_taken_whole_or_refused_by_name(library, home, folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    names = sorted(tensors)
    shards = {"model-00001-of-00002.safetensors": names[:9], "model-00002-of-00002.safetensors": names[9:]}
    for shard, part in shards.items():
        save_file({name: tensors[name].clone() for name in part}, folder / shard, metadata={"format": "pt"})
    (folder / "model.safetensors").unlink()
    weight_map = {name: shard for shard, part in shards.items() for name in part}
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"weight_map": weight_map}), encoding="utf-8"
    )
    assert library.add(folder).num_parameters == 106_048
    library.delete("tiny-llama")
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match="model-00002-of-00002") as refusal:
        library.add(folder)
    assert refusal.value.code == "weights-incomplete"
    assert nothing_half_done(home)


def _only_pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _cut_off(folder: Path) -> None:
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def _not_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"<html>not found</html>")


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _broken_config(folder: Path) -> None:
    (folder / "config.json").write_text('{"model_type": "llama"', encoding="utf-8")


def _adapter(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "config.json").unlink()
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (_only_pickle, "weights-pickled"),
        (_cut_off, "weights-broken"),
        (_not_weights, "weights-broken"),
        (_no_config, "config-missing"),
        (_broken_config, "config-broken"),
        (_adapter, "adapter-alone"),
    ],
)
def test_a_folder_that_is_not_a_whole_model_is_refused_by_name(library, home, folder, harm, code):
    harm(folder)
    with pytest.raises(UserError) as refusal:
        library.add(folder)
    assert refusal.value.code == code
    assert "{" not in refusal.value.message
    assert nothing_half_done(home)


@pytest.mark.parametrize(
    ("name", "code"), [("nothing", "path-not-found"), ("weights.pt", "model-file-unknown")]
)
def test_other_paths_are_refused(library, tmp_path, name, code):
    if "." in name:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UserError) as refusal:
        library.add(tmp_path / name)
    assert refusal.value.code == code


def test_cancelling_a_copy_leaves_nothing(library, home, folder):
    def check() -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        library.add(folder, check=check)
    assert nothing_half_done(home)


def test_a_full_disk_is_named_and_nothing_is_kept(library, home, folder, monkeypatch):
    real_open = Path.open

    def full(self, mode="r", *rest, **named):
        if "w" in mode and self.name == "model.safetensors":
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return real_open(self, mode, *rest, **named)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(UserError) as refusal:
        library.add(folder)
    assert refusal.value.code == "disk-full"
    monkeypatch.undo()
    assert nothing_half_done(home)


def test_too_little_room_is_said_before_anything_is_copied(library, home, folder, monkeypatch):
    usage = type("Usage", (), {"total": 1, "used": 1, "free": 1000})
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage)
    with pytest.raises(UserError, match="1 kB are free"):
        library.add(folder)
    assert nothing_half_done(home)


def test_a_home_that_cannot_be_written_is_a_sentence(tmp_path, folder):
    (tmp_path / "blocked").write_text("a file where the home should be", encoding="utf-8")
    library = ModelLibrary(Home(tmp_path / "blocked" / "home"))
    assert library.list() == []
    with pytest.raises(UserError) as refusal:
        library.add(folder)
    assert refusal.value.code == "home-not-writable"


def test_delete_and_restore(library, home, folder):
    info = library.add(folder)
    token = library.delete(info.id)
    assert library.list() == []
    with pytest.raises(UserError, match="There is no model"):
        library.info(info.id)
    assert library.restore(token) == info
    with pytest.raises(UserError) as gone:
        library.restore(token)
    assert gone.value.code == "trash-not-found"
    token = library.delete(info.id)
    library.add(folder)
    with pytest.raises(UserError) as taken:
        library.restore(token)
    assert taken.value.code == "model-exists"
    assert changed_files(home.trash / token) == []


@pytest.mark.parametrize("token", ["", "model.x.1", "../models", "data-00", "model./../../x.1"])
def test_a_wrong_token_restores_nothing(library, token):
    with pytest.raises(UserError) as refusal:
        library.restore(token)
    assert refusal.value.code == "trash-not-found"


def test_a_source_is_an_id_or_a_folder(library, home, folder, tiny_home):
    assert library.path("tiny") == tiny_home.models / "tiny"
    assert library.path(str(folder)) == folder
    for source in ("", "nope", "../models/tiny", str(folder.parent)):
        with pytest.raises(UserError) as refusal:
            library.path(source)
        assert refusal.value.code == "model-not-found"


def test_a_broken_card_does_not_hide_the_others(library, home, folder, caplog):
    info = library.add(folder)
    (home.models / "broken").mkdir()
    (home.models / "broken" / "model.json").write_text("{", encoding="utf-8")
    assert library.list() == [info]
    assert "broken" in caplog.text


def test_headers_are_read_without_weights(tiny_model):
    header = read_header(tiny_model / "model.safetensors")
    assert header["model.embed_tokens.weight"]["shape"] == [500, 64]


def test_what_a_model_is_comes_from_its_configuration(tmp_path, tiny_model):
    folder = shutil.copytree(tiny_model, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))

    def kind(**changes) -> str:
        (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")
        return describe(folder, id="m", title="m", source="").kind

    assert kind() == "decoder"
    assert kind(architectures=["BertModel"], model_type="bert") == "encoder"
    assert kind(architectures=["GPT2LMHeadModel"], model_type="gpt2") == "decoder"
    assert kind(architectures=["MarianMTModel"], is_encoder_decoder=True) == "encoder-decoder"
    (folder / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# x\n", encoding="utf-8")
    assert describe(folder, id="m", title="m", source="").licence == "apache-2.0"


def test_lists_are_answered_without_torch(tiny_home):
    code = (
        "import sys; from pathlib import Path; from engine.home import Home; "
        "from engine.models.library import ModelLibrary; l = ModelLibrary(Home(Path(sys.argv[1]))); "
        "assert [m.id for m in l.list()] == ['tiny'] and len(l.starters()) == 2; "
        "heavy = {'torch', 'transformers', 'pyarrow', 'numpy', 'huggingface_hub'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code, str(tiny_home.root)], check=True)
