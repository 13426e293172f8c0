"""Models that steps need: a setting that names one, and the folder it stands for. Loads nothing."""

from __future__ import annotations

from pathlib import Path

from engine.data.steps.step import Rows
from engine.errors import UserError
from engine.messages import StepSetting


def model_setting(name: str, title: str, help: str) -> StepSetting:
    """A setting of the type "model": an id of the library, or a folder."""
    return StepSetting(name, "model", "", title, help)


def chosen_folder(rows: Rows, model: str) -> Path:
    """The folder of the model that a setting names.

    Raises:
        UserError: "step-model-needed", "model-not-found".
    """
    if not model.strip():
        raise UserError("step-model-needed", "This step needs a model. Choose one, or give its folder.")
    from engine.data.requests import model_folder  # knows the steps itself

    if rows.home is None:
        folder = Path(model)
        if (folder / "config.json").exists():
            return folder
        raise UserError(
            "model-not-found",
            "There is no model {model!r}. `python main.py models` lists what there is.",
            model=model,
        )
    return model_folder(rows.home, model.strip())
