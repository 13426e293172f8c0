"""Models that steps need: a setting that names one, and the folder it stands for. Loads nothing."""

from __future__ import annotations

from pathlib import Path

from engine.data.steps.step import Rows, Settings
from engine.errors import UserError
from engine.home import Home
from engine.messages import StepSetting


def model_setting(name: str, title: str, help: str) -> StepSetting:
    """A setting of the type "model": an id of the library, or a folder."""
    return StepSetting(name, "model", "", title, help)


def chosen_folder(rows: Rows, settings: Settings, name: str) -> Path:
    """The folder of the model that the setting `name` names.

    Raises:
        UserError: "step-model-needed", "model-not-found", both with the setting's name.
    """
    model = str(settings[name]).strip()
    if not model:
        raise UserError(
            "step-model-needed", "This step needs a model. Choose one, or give its folder.", setting=name
        )
    if rows.home is None and (Path(model) / "config.json").exists():
        return Path(model)
    from engine.data.requests import model_folder  # knows the steps itself

    try:
        return model_folder(rows.home or Home.locate(), model)
    except UserError as missing:
        raise UserError(missing.code, missing.template, **missing.fields, setting=name) from None
