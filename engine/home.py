"""Where everything lives: the one folder that holds models, data, runs and the history.

Owns the layout and nothing else. Standard library and platformdirs only: the window imports this.

    HOME/
      models/<id>/      model.json, weights, tokenizer, licence
      data/<name>/      dataset.json, rows.arrow, issues.jsonl
      runs/<id>/        recipe.toml, events.jsonl, commands/, checkpoints/, final/, worker.log
      trash/            what was deleted and can be put back
      downloads/        parts that are still coming
      playground/       kept replies
      reports/<id>/     report.json, rows.arrow: a model judged on rows
      history.sqlite    an index of all this; it can be deleted and is rebuilt
      settings.ini      the window's own
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs


@dataclass(frozen=True)
class Home:
    """The layout under one root folder. Every property is a path; `create` makes the folders."""

    root: Path

    @classmethod
    def locate(cls, chosen: str | os.PathLike[str] | None = None) -> Home:
        """The chosen folder, else TUNEBENCH_HOME, else the platform's data folder; absolute."""
        place = (
            chosen
            or os.environ.get("TUNEBENCH_HOME")
            or platformdirs.user_data_dir("tunebench", appauthor=False)
        )
        return cls(Path(place).expanduser().absolute())

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def trash(self) -> Path:
        return self.root / "trash"

    @property
    def downloads(self) -> Path:
        return self.root / "downloads"

    @property
    def playground(self) -> Path:
        return self.root / "playground"

    @property
    def reports(self) -> Path:
        return self.root / "reports"

    @property
    def database(self) -> Path:
        return self.root / "history.sqlite"

    @property
    def settings(self) -> Path:
        return self.root / "settings.ini"

    def run(self, run_id: str) -> Path:
        return self.runs / run_id

    def create(self) -> Home:
        """Make the folders that are missing.

        Raises:
            OSError: if the place cannot be written; the caller names it to the user.
        """
        places = (
            self.models, self.data, self.runs, self.trash, self.downloads, self.playground, self.reports,
        )  # fmt: skip
        for folder in places:
            folder.mkdir(parents=True, exist_ok=True)
        return self
