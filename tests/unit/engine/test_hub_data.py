"""Data sets from a hub: huggingface_hub itself, against a server on this machine that speaks its protocol."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.data.hub_data import import_hub_data, look_up, split_id
from engine.data.library import DataLibrary
from engine.data.steps.versions import DataSteps
from engine.errors import Cancelled, UserError
from engine.home import Home
from engine.messages import DataStep, ImportHubData
from tests.hub_server import COMMIT, Hub, hub_running

REPO = "some-one/Replies"


def rows(word: str, count: int) -> list[dict[str, str]]:
    return [{"prompt": f"{word} {place}?", "completion": f"Answer {place}."} for place in range(count)]


def parquet(word: str, count: int) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows(word, count)), sink)
    return sink.getvalue()


def lines(word: str, count: int) -> bytes:
    return "\n".join(map(json.dumps, rows(word, count))).encode()


FILES = {
    ".gitattributes": b"*", "README.md": b"# About\n\nwords", "replies.py": b"raise SystemExit",
    "data/train-00000-of-00002.parquet": parquet("train a", 30),
    "data/train-00001-of-00002.parquet": parquet("train b", 20),
    "data/validation-00000-of-00001.parquet": parquet("val", 6), "data/test-00000-of-00001.parquet": parquet("test", 4),
    "train.jsonl": lines("the same again", 50),
}  # fmt: skip


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with hub_running() as hub:
        hub.datasets[REPO] = dict(FILES)
        hub.card = {"license": "cc-by-4.0"}
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        for name in ("HF_TOKEN", "HF_HUB_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        yield hub


def nothing_half_done(home: Home) -> bool:
    left = [path.name for path in (*home.data.iterdir(), *home.downloads.iterdir())]
    return not [name for name in left if not name.endswith(".lock")]


def refused(home: Home, **request: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        import_hub_data(home, ImportHubData(**{"repo_id": REPO, "name": "replies"} | request))
    assert "{" not in caught.value.message
    assert nothing_half_done(home)
    return caught.value


def test_size_licence_and_splits_are_known_before_anything_is_fetched(home: Home, hub: Hub):
    found = look_up(home, REPO)
    assert (found.commit, found.licence) == (COMMIT, "cc-by-4.0")
    assert found.splits == ("train", "train", "validation", "test")
    assert found.num_bytes == sum(len(FILES[name]) for name in found.files)
    assert "train.jsonl" in found.skipped, "the same rows in another format"
    assert hub.fetched == []
    assert nothing_half_done(home)


def test_a_data_set_comes_with_its_splits(home: Home, hub: Hub):
    hub.delay_s = 0.005
    seen: list[tuple[Any, ...]] = []
    info = import_hub_data(home, ImportHubData(REPO, "replies"), lambda *news: seen.append(news)).info
    assert (info.rows_kept, info.split_rows) == (60, {"train": 50, "validation": 6, "test": 4})
    assert (info.origin, info.licence, info.title) == (f"hub:{REPO}@{COMMIT}", "cc-by-4.0", REPO)
    assert (info.shape, info.roles["split"]) == ("prompt-completion", "ignore")
    assert info.sources[0] == "data/train-00000-of-00002.parquet"
    assert set(hub.fetched) == {name for name in FILES if name.endswith(".parquet")}
    assert {news[0] for news in seen} == {"downloading", "reading"}
    assert not [path for path in home.downloads.iterdir() if path.is_dir()]


def test_the_given_split_survives_what_is_done_to_the_data(home: Home, hub: Hub):
    import_hub_data(home, ImportHubData(REPO, "replies"))
    assert DataSteps(home).apply("replies", DataStep("mask")).split_rows == {
        "train": 50,
        "validation": 6,
        "test": 4,
    }
    DataSteps(home).undo("replies")
    swapped = {"prompt": "completion", "completion": "prompt"}
    assert DataLibrary(home).set_roles("replies", swapped).info.split_rows["test"] == 4


def test_a_declared_subset_is_taken_and_the_others_named(home: Home, hub: Hub):
    hub.datasets[REPO] = {
        "en/a.jsonl": lines("en", 5),
        "zh/train.csv": b"prompt,completion\na,b\n",
        "zh/t.csv": b"x",
    }
    hub.card = {
        "license": ["mit", "other"],
        "configs": [
            {"config_name": "chinese", "data_files": [{"split": "train", "path": "zh/train*"}]},
            {"config_name": "english", "default": True, "data_files": "en/*.jsonl"},
        ],
    }
    found = look_up(home, REPO)
    assert (found.subset, found.subsets, found.licence) == ("english", ("english", "chinese"), "mit, other")
    assert import_hub_data(home, ImportHubData(REPO, "zh", subset="chinese")).info.rows_kept == 1
    with pytest.raises(UserError) as caught:
        look_up(home, REPO, subset="klingon")
    assert caught.value.code == "hub-no-subset"
    assert "chinese" in caught.value.message


def test_folders_are_subsets_where_the_card_says_nothing(home: Home, hub: Hub):
    names = ("cola/train.jsonl", "cola/test.jsonl", "mnli/train.jsonl")
    hub.datasets[REPO] = {name: lines(name, 3) for name in names}
    found = look_up(home, REPO)
    assert (found.subsets, found.files) == (("cola", "mnli"), ("cola/train.jsonl", "cola/test.jsonl"))


def test_the_same_rows_have_the_same_hash_as_from_a_file(home: Home, hub: Hub, tmp_path: Path):
    hub.datasets[REPO] = {"rows.jsonl": lines("x", 9)}
    (tmp_path / "rows.jsonl").write_bytes(lines("x", 9))
    fetched = import_hub_data(home, ImportHubData(REPO, "fetched")).info
    assert "split" not in fetched.columns
    assert fetched.hash == DataLibrary(home).import_files([tmp_path / "rows.jsonl"], "own").info.hash


def test_every_refusal_is_a_sentence_and_leaves_nothing(home: Home, hub: Hub):
    assert refused(home, repo_id="no-one/nothing").code == "hub-not-found"
    assert "data set" in refused(home, repo_id="no-one/nothing").message
    assert refused(home, repo_id="../../etc").code == "hub-data-name"
    assert refused(home, revision="nope").code == "hub-no-revision"
    hub.datasets["a/pictures"] = {"cat.png": b"x", "README.md": b"words"}
    assert refused(home, repo_id="a/pictures").code == "hub-no-data"
    hub.gated.add(REPO)
    assert refused(home).code == "hub-gated"


def test_damaged_and_unusable_files_leave_nothing(home: Home, hub: Hub):
    hub.damaged = {"data/test-00000-of-00001.parquet"}
    assert refused(home).code == "hub-refused"
    hub.datasets["a/broken"] = {"rows.jsonl": b"{nope\n{nope\n"}
    assert refused(home, repo_id="a/broken").code == "no-usable-rows"


def test_without_a_network_it_says_so(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert refused(home).code == "hub-offline"


def test_cancel_ends_the_download_and_leaves_nothing(home: Home, hub: Hub):
    hub.delay_s = 0.3

    def cancel_on_news(phase: str, done: int, total: int, unit: str) -> None:
        if done > 0:
            raise Cancelled

    with pytest.raises(Cancelled):
        import_hub_data(home, ImportHubData(REPO, "replies"), cancel_on_news)
    assert nothing_half_done(home)


def test_an_id_may_name_a_revision():
    assert split_id("hub:a/b@v1") == ("a/b", "v1")
    assert split_id("a/b") == ("a/b", "main")
