"""The gallery: the recipes that ship, each with what it shows and what it needs.

A recipe lies in assets/recipes/NAME.toml as any other does; what is said about it lies in about/NAME.toml beside it.
Owns the reading of both. Knows nothing of requests; no torch.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from engine.home import Home
from engine.messages import CreateModel, RecipeInfo
from engine.models.starters import all_starters
from engine.processes import PROGRAM_FOLDER
from engine.recipe import Recipe

RECIPES_FOLDER = PROGRAM_FOLDER / "assets" / "recipes"
LAST = 1_000


@dataclass(frozen=True)
class GalleryRecipe:
    """A recipe that ships. `new_model` describes its model where that is made here, from the recipe's data.

    `minutes` is about how long it takes on two cores, measured or counted from a measured step.
    """

    id: str
    recipe: Recipe
    title: str
    title_zh: str
    shows: str
    shows_zh: str
    minutes: float
    order: int = LAST
    new_model: CreateModel | None = None
    new_model_title_zh: str = ""
    better: str = ""
    better_zh: str = ""
    warning: str = ""
    warning_zh: str = ""

    def info(self, home: Home) -> RecipeInfo:
        """What of it is in the home's library, and what is still to be fetched or made."""
        starters = {starter.id: starter for starter in all_starters()}
        model, data = starters.get(self.recipe.model), starters[self.recipe.data]
        has_data = data.installed(home)
        has_model = (home.models / self.recipe.model / "model.json").exists()
        wanted = [starter for starter in (model, data) if starter is not None and not starter.installed(home)]
        licences = [starter.licence for starter in (model, data) if starter is not None]
        return RecipeInfo(
            id=self.id, title=self.title, title_zh=self.title_zh, shows=self.shows, shows_zh=self.shows_zh,
            task=self.recipe.task or "", method=self.recipe.method, model=self.recipe.model,
            model_title=model.title if model else self._new().name,
            model_title_zh=model.title_zh if model else self.new_model_title_zh, data=self.recipe.data,
            data_title=data.title, data_title_zh=data.title_zh, licence=" · ".join(dict.fromkeys(licences)),
            num_rows=data.count_rows(), minutes=self.minutes, has_model=has_model, has_data=has_data,
            download_bytes=sum(starter.num_bytes for starter in wanted if starter.package),
            recipe=self.recipe.to_dict(), needs=tuple(starter.id for starter in wanted),
            new_model=None if has_model else self.new_model, better=self.better, better_zh=self.better_zh,
            warning=self.warning, warning_zh=self.warning_zh,
        )  # fmt: skip

    def _new(self) -> CreateModel:
        assert self.new_model is not None  # whoever names no starter describes a new model
        return self.new_model


@cache
def all_recipes(folder: Path = RECIPES_FOLDER) -> tuple[GalleryRecipe, ...]:
    """Every recipe that ships, in the gallery's order."""
    found = [_read(folder, path.stem) for path in sorted(folder.glob("*.toml"))]
    return tuple(sorted(found, key=lambda one: (one.order, one.id)))


def new_model_named(id: str) -> CreateModel | None:
    """How the model of a recipe is made, if a recipe names this id and its model is one from scratch."""
    return next((one.new_model for one in all_recipes() if one.new_model and one.recipe.model == id), None)


def _read(folder: Path, id: str) -> GalleryRecipe:
    recipe = Recipe.load(folder / f"{id}.toml")
    about: dict[str, Any] = tomllib.loads((folder / "about" / f"{id}.toml").read_text(encoding="utf-8"))
    sizes = about.pop("new_model", None)
    if sizes is not None:
        about["new_model_title_zh"] = sizes.pop("name_zh")
        about["new_model"] = CreateModel(data=recipe.data, **sizes)
    return GalleryRecipe(id=id, recipe=recipe, **about)
