"""Models from a hub: huggingface_hub itself, against a server on this machine that speaks its protocol."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from engine.errors import Cancelled, UserError
from engine.home import Home
from engine.models.hub import plan_download
from engine.models.library import ModelLibrary
from tests.hub_server import COMMIT, Hub, hub_running

REPO = "some-one/Tiny-Llama"


@pytest.fixture
def hub(tiny_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with hub_running() as hub:
        files = {path.name: path.read_bytes() for path in tiny_model.iterdir() if path.name != "model.json"}
        files |= {"pytorch_model.bin": b"pickle", "modeling.py": b"raise SystemExit", "onnx/model.onnx": b"x"}
        hub.repos[REPO] = files
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        yield hub


def nothing_half_done(home: Home) -> bool:
    return not any(home.models.iterdir()) and not [p for p in home.downloads.iterdir() if p.suffix != ".lock"]


def refused(home: Home, repo: str = REPO, revision: str = "main") -> UserError:
    with pytest.raises(UserError) as refusal:
        ModelLibrary(home).get_hub(repo, revision)
    assert "{" not in refusal.value.message
    assert nothing_half_done(home)
    return refusal.value


def test_a_model_is_fetched_without_its_pickles_and_programs(home, hub: Hub):
    hub.delay_s = 0.02
    seen = []
    info = ModelLibrary(home).get_hub(REPO, progress=lambda *news: seen.append(news))
    assert (info.id, info.title, info.licence, info.languages) == (
        "tiny-llama",
        REPO,
        "apache-2.0",
        ("en", "zh"),
    )
    assert info.source == f"hub:{REPO}@{COMMIT}"
    assert info.num_parameters == 106_048
    kept = {path.name for path in Path(info.path).iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json", "model.json"} <= kept
    assert not kept & {"pytorch_model.bin", "modeling.py", ".cache"}
    assert not {"pytorch_model.bin", "modeling.py", "onnx/model.onnx"} & set(hub.fetched)
    done = [news[1] for news in seen if news[0] == "downloading" and news[2]]
    assert done == sorted(done)
    assert done[-1] == seen[[news[0] for news in seen].index("checking") - 1][2] > 400_000


def test_cancelling_ends_the_child_and_leaves_nothing(home, hub: Hub):
    hub.delay_s = 0.3

    def progress(phase: str, done: int, total: int, unit: str) -> None:
        if done > 0:
            raise Cancelled

    with pytest.raises(Cancelled):
        ModelLibrary(home).get_hub(REPO, progress=progress)
    own = psutil.Process().children(recursive=True)
    assert not [child for child in own if "engine.models.hub" in " ".join(child.cmdline())]
    assert nothing_half_done(home)


def test_a_model_that_is_not_there(home, hub: Hub):
    refusal = refused(home, "some-one/nothing")
    assert refusal.code == "hub-not-found"
    assert "some-one/nothing" in refusal.message


def test_a_gated_model_says_what_to_do(home, hub: Hub):
    hub.gated.add(REPO)
    refusal = refused(home)
    assert refusal.code == "hub-gated"
    assert "hf auth login" in refusal.message


def test_a_revision_that_is_not_there(home, hub: Hub):
    assert refused(home, revision="v9").code == "hub-no-revision"


def test_a_file_that_arrives_damaged_is_not_kept(home, hub: Hub):
    hub.damaged.add("model.safetensors")
    refusal = refused(home)
    assert refusal.code == "hub-refused"
    assert "model.safetensors arrived damaged" in refusal.message


@pytest.mark.parametrize(
    ("files", "code"),
    [
        (["pytorch_model.bin"], "hub-no-safetensors"),
        (["q4.gguf"], "hub-only-gguf"),
        ([], "hub-no-safetensors"),
    ],
)
def test_a_model_in_another_format_is_refused_by_name(home, hub: Hub, files, code):
    hub.repos[REPO] = {"config.json": b"{}"} | dict.fromkeys(files, b"x")
    assert refused(home).code == code
    assert hub.fetched == []


def test_without_a_network_it_says_so(home, hub: Hub, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    refusal = refused(home)
    assert refusal.code == "hub-offline"
    assert "try again" in refusal.message


def test_offline_by_wish_says_so(home, hub: Hub, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert refused(home).code == "hub-offline"


def test_too_little_room(home, hub: Hub, monkeypatch):
    hub.delay_s = 0.1
    real = shutil.disk_usage
    monkeypatch.setattr(
        shutil, "disk_usage", lambda place: SimpleNamespace(free=1000, total=real(place).total)
    )
    assert refused(home).code == "disk-full"


@pytest.mark.parametrize("name", ["", "a b", "https://somewhere/x", "a/b/c", "../x"])
def test_a_name_that_is_none_is_refused_before_anything_is_asked(home, name):
    assert refused(home, name).code == "hub-name"


def test_one_copy_of_the_weights_is_enough():
    names = [
        "config.json",
        "model.safetensors",
        "model.fp16.safetensors",
        "consolidated.safetensors",
        "tokenizer.json",
    ]
    siblings = [SimpleNamespace(rfilename=name, size=10, lfs=None) for name in names]
    plan = plan_download("a/b", SimpleNamespace(siblings=siblings, sha="c", card_data=None))
    assert plan.files == ("config.json", "model.safetensors", "tokenizer.json")
    assert plan.num_bytes == 30
