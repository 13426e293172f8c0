"""Every message between processes: the table of contents of what Tunebench does.

Three families, all frozen dataclasses that travel as JSON lines:

* **Run events**, past facts that a training process appends to its journal;
* **Run commands**, imperatives honoured between optimiser steps;
* **Requests** to the two service processes (librarian: data and models; player: generation), with
  the results they end in and the news they send on the way.

Standard library only. Nothing here may import torch, Qt or a database.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from dataclasses import dataclass, field
from typing import Any, TypeVar, Union

PROTOCOL_VERSION = 1

M = TypeVar("M")


# ---------------------------------------------------------------------------------------- run events


@dataclass(frozen=True)
class RunCreated:
    """The run folder exists; nothing runs yet. Always seq 0."""

    name: str
    recipe: dict[str, Any]
    model_title: str
    data_name: str
    data_hash: str


@dataclass(frozen=True)
class RunStarted:
    """A worker holds the lock. After an interruption there is one more of these."""

    pid: int
    resumed_from_step: int
    environment: dict[str, Any]


@dataclass(frozen=True)
class PhaseChanged:
    """What the worker does now: loading-model, preparing-data, training, evaluating, sampling, saving."""

    phase: str
    done: int = 0
    total: int = 0


@dataclass(frozen=True)
class DataPrepared:
    """The rows are tokens. Shares are 0 to 1; `num_tokens` counts the training split once."""

    num_train_rows: int
    num_val_rows: int
    num_tokens: int
    trained_token_share: float
    num_truncated_rows: int
    num_skipped_rows: int
    num_steps: int
    num_trainable_parameters: int
    num_parameters: int


@dataclass(frozen=True)
class StepFinished:
    """One optimiser step. `train_loss` is mean nats per trained token; null if not finite.

    `elapsed_s` is the time trained so far, over all sessions of the run, pauses and evaluation left out.
    """

    step: int
    train_loss: float | None
    learning_rate: float
    grad_norm: float | None
    num_tokens: int
    num_trained_tokens: int
    tokens_per_second: float
    epoch: float
    elapsed_s: float


@dataclass(frozen=True)
class ResourcesMeasured:
    """The worker's own memory and the machine's load, about every two seconds."""

    step: int
    memory_bytes: int
    machine_memory_percent: float
    cpu_percent: float
    gpu_percent: float | None = None
    gpu_memory_bytes: int | None = None


@dataclass(frozen=True)
class EvalFinished:
    """Loss on the validation split, mean nats per target (trained token or label), and its exponential.

    `metrics` are the task's own figures by the ids of engine.metrics; shares are 0 to 1.
    """

    step: int
    val_loss: float | None
    perplexity: float | None
    num_tokens: int
    seconds: float
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SampleGenerated:
    """A pinned prompt, answered greedily by the weights of this step."""

    step: int
    prompt_index: int
    prompt: str
    text: str
    reference: str = ""


@dataclass(frozen=True)
class CheckpointSaved:
    """A committed checkpoint. `path` is relative to the run folder."""

    step: int
    path: str
    num_bytes: int
    is_best: bool


@dataclass(frozen=True)
class CheckpointRemoved:
    """An older checkpoint was pruned after a newer one was committed."""

    step: int
    path: str


@dataclass(frozen=True)
class RunPaused:
    step: int


@dataclass(frozen=True)
class RunResumed:
    """Goes on after a pause, in the same process."""

    step: int


@dataclass(frozen=True)
class RunStopped:
    """Ended by the user, after a checkpoint; it can be resumed."""

    step: int


@dataclass(frozen=True)
class RunFinished:
    """All steps are done and the weights of `result_step` are in `path`, relative to the run folder.

    `result_step` None (in journals of older versions) means `step`, the last one.
    """

    step: int
    path: str
    best_val_loss: float | None
    duration_s: float
    peak_memory_bytes: int = 0
    result_step: int | None = None


@dataclass(frozen=True)
class RunFailed:
    """`code` and `fields` name the sentence; `message` is it in English; `detail` is for a report."""

    step: int
    code: str
    message: str
    template: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    detail: str = ""


RunEvent = (
    RunCreated | RunStarted | PhaseChanged | DataPrepared | StepFinished | ResourcesMeasured | EvalFinished
    | SampleGenerated | CheckpointSaved | CheckpointRemoved | RunPaused | RunResumed | RunStopped
    | RunFinished | RunFailed
)  # fmt: skip


# --------------------------------------------------------------------------------------- run commands


@dataclass(frozen=True)
class PauseRun:
    pass


@dataclass(frozen=True)
class ResumeRun:
    """Go on after a pause. An ended run is resumed by starting its worker anew instead."""


@dataclass(frozen=True)
class StopRun:
    """Save a checkpoint and end."""


@dataclass(frozen=True)
class SaveCheckpoint:
    """Save one now and go on."""


@dataclass(frozen=True)
class SampleNow:
    """Answer the pinned prompts now and go on."""


RunCommand = (
    PauseRun | ResumeRun | StopRun | SaveCheckpoint | SampleNow
)  # fmt: skip


# ----------------------------------------------------------------------------------- data (librarian)


@dataclass(frozen=True)
class RowIssue:
    """A row that cannot be used. `row` counts from 1 in the file; `column` may be empty.

    `line` is where the row begins in the file, from 1; 0 where the format has no lines. `template` and `fields`
    are the sentence of `message` before its braces were filled, for the window's language. `status` is "" or
    "skipped": someone has seen it and leaves the row out on purpose.
    """

    file: str
    row: int
    code: str
    message: str
    column: str = ""
    value: str = ""
    line: int = 0
    template: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    status: str = ""


@dataclass(frozen=True)
class DataStep:
    """One thing that was done to a data set: a `kind` of ListSteps and its settings by name, as JSON values.

    Settings that are left out have the default of their kind.
    """

    kind: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DataVersion:
    """What a data set was at one point of its steps."""

    hash: str
    num_rows: int


@dataclass(frozen=True)
class DatasetInfo:
    """A data set in the library. rows_read = rows_kept + rows with an issue.

    `hash` is that of this version: of the original where `steps` is empty, else of what the steps made of it.
    `original_rows` are the rows kept before the first step; 0 where there is no step. `versions` are the original
    and what each of `steps` made of it: one more than there are steps; empty where there is no step.
    `split_rows` counts train, validation and test once a step has split the rows, or the files were splits; empty
    before. `num_skipped` of the issues were seen and are left out on purpose. `origin` names the hub's data set and
    its commit; "" for files.

    `roles` maps a column to one of the roles of `shape` (e.g. {"question": "prompt"}); `shape` is one of
    `engine.recipe.TASKS_OF_SHAPE`; `label_separator` stands between several labels of one cell; scores of pairs lie
    between `lowest_score` and `highest_score`; `reason` says why it was taken to be that, and is
    `reason_template` filled in from `reason_fields`. `skipped` names the files of a folder or archive that
    hold no data.
    """

    name: str
    hash: str
    rows_read: int
    rows_kept: int
    num_issues: int
    task: str
    shape: str
    reason: str
    columns: tuple[str, ...]
    roles: dict[str, str]
    num_bytes: int
    created_utc: str
    sources: tuple[str, ...] = ()
    title: str = ""
    licence: str = ""
    reason_template: str = ""
    reason_fields: dict[str, str] = field(default_factory=dict)
    skipped: tuple[str, ...] = ()
    steps: tuple[DataStep, ...] = ()
    original_rows: int = 0
    versions: tuple[DataVersion, ...] = ()
    split_rows: dict[str, int] = field(default_factory=dict)
    num_skipped: int = 0
    origin: str = ""
    label_separator: str = ""
    lowest_score: float = 0.0
    highest_score: float = 1.0


@dataclass(frozen=True)
class RowsPage:
    """Rows `offset`… of a data set; every cell as text, one tuple a row, in the order of `columns`.

    `total` counts the rows that fit the query; `positions` are the places of `rows` in the whole data set.
    """

    name: str
    offset: int
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    total: int = 0
    positions: tuple[int, ...] = ()


@dataclass(frozen=True)
class TokenChip:
    """One token as the model sees it. `label` is "" or the name of a special token; start/end are
    character offsets into the rendered text."""

    id: int
    text: str
    trained: bool
    special: bool
    start: int
    end: int
    label: str = ""


@dataclass(frozen=True)
class TokenRow:
    """A row as the loop will be fed: chips in order, and what is wrong with it.

    `checks` are codes: nothing-trained, end-of-turn-not-trained, truncated-prompt, truncated-completion,
    glued-boundary, system-merged, system-lost, special-in-text, template-refused, no-generation-marks,
    label-of-several-tokens. `target` is what is learnt where it is no token: a label, a
    score, the text of an answer. A long example is cut into `num_pieces`; this is the first.
    """

    row: int
    chips: tuple[TokenChip, ...]
    num_tokens: int
    num_trained: int
    checks: tuple[str, ...] = ()
    target: str = ""
    num_pieces: int = 1


@dataclass(frozen=True)
class TokenView:
    rows: tuple[TokenRow, ...]


@dataclass(frozen=True)
class TokenStatistics:
    """Over the whole data set, as this recipe would render it. `histogram` are (upper edge, count)."""

    num_rows: int
    num_tokens: int
    num_trained_tokens: int
    num_truncated_rows: int
    longest_row: int
    histogram: tuple[tuple[int, int], ...]
    check_counts: dict[str, int] = field(default_factory=dict)
    check_rows: dict[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class ImportData:
    """-> ImportReport. All or nothing: an error leaves no half data set behind.

    `text_unit` cuts plain texts by line, paragraph or file; "" chooses by the file.
    """

    paths: tuple[str, ...]
    name: str
    roles: dict[str, str] = field(default_factory=dict)
    task: str = ""
    text_unit: str = ""


@dataclass(frozen=True)
class ImportReport:
    """`issues` are the first of `info.num_issues`; ReadIssues reads them all."""

    info: DatasetInfo
    issues: tuple[RowIssue, ...]


@dataclass(frozen=True)
class PreviewData:
    """-> DataPreview. Reads the head of a file and says what it would become; keeps nothing."""

    paths: tuple[str, ...]
    num_rows: int = 50
    text_unit: str = ""


@dataclass(frozen=True)
class DataPreview:
    info: DatasetInfo
    page: RowsPage
    issues: tuple[RowIssue, ...]


@dataclass(frozen=True)
class ListData:
    """-> DataList"""


@dataclass(frozen=True)
class DataList:
    datasets: tuple[DatasetInfo, ...]
    starters: tuple[StarterInfo, ...]


@dataclass(frozen=True)
class ReadRows:
    """-> RowsPage. `query` keeps rows that contain it, in any column, whatever its case.

    `sort` names a column: texts in code point order, columns of numbers by number, what is empty last.
    """

    name: str
    offset: int
    num_rows: int
    query: str = ""
    sort: str = ""
    descending: bool = False


@dataclass(frozen=True)
class ReadIssues:
    """-> IssuesPage of the issues of that code and status ("open" or "skipped"); "" means any."""

    name: str
    offset: int = 0
    num_rows: int = 1000
    code: str = ""
    status: str = ""


@dataclass(frozen=True)
class IssuesPage:
    """`total` counts the issues that fit the request, `codes` all issues of the data set by code."""

    issues: tuple[RowIssue, ...]
    total: int
    codes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class ReadIssueRow:
    """-> IssueRow: what is known of a row with an issue, to be mended by hand."""

    name: str
    file: str
    row: int


@dataclass(frozen=True)
class IssueRow:
    """The row's cells as texts in the order of `columns`; all empty where the row could not be read."""

    issue: RowIssue
    columns: tuple[str, ...]
    cells: tuple[str, ...]


@dataclass(frozen=True)
class FixIssue:
    """-> ImportReport. Gives a row with an issue other values, by column; the row joins the others at its place.

    Steps are carried out anew. A row that still cannot be used is refused ("fix-unusable"): nothing is changed then.
    """

    name: str
    file: str
    row: int
    values: dict[str, str]


@dataclass(frozen=True)
class ReplaceValue:
    """-> ImportReport. Puts another value in the place of one in every row of a column, those with an issue
    included; in turns it is the role that is replaced. Steps are carried out anew."""

    name: str
    column: str
    value: str
    new_value: str


@dataclass(frozen=True)
class UndoMend:
    """-> DatasetInfo. Takes the last fix or replacement back; "undo-gone" if the data set was changed since."""

    name: str


@dataclass(frozen=True)
class SkipIssues:
    """-> DatasetInfo. Marks issues as seen: by `rows` (each "file", row), or all of a code. `skipped` False undoes it.

    They stay in the list and in the counts.
    """

    name: str
    rows: tuple[tuple[str, int], ...] = ()
    code: str = ""
    skipped: bool = True


@dataclass(frozen=True)
class ExportIssues:
    """-> Done. Writes all issues (of that code) as CSV or JSON Lines, by the file's ending."""

    name: str
    path: str
    code: str = ""


@dataclass(frozen=True)
class SetRoles:
    """-> ImportReport. Gives columns other roles; rows that no longer fit become issues."""

    name: str
    roles: dict[str, str]


@dataclass(frozen=True)
class RenameData:
    """-> DatasetInfo"""

    name: str
    new_name: str


@dataclass(frozen=True)
class DeleteData:
    """-> Done. Moves it to the trash; RestoreFromTrash(done.token) brings it back. What the runs `done.kept_for` need
    of it is kept, even when the trash is emptied."""

    name: str


@dataclass(frozen=True)
class ListDataTrash:
    """-> DataTrash"""


@dataclass(frozen=True)
class DataTrash:
    """The data sets in the trash; `tokens` are what RestoreFromTrash takes, one each."""

    datasets: tuple[DatasetInfo, ...]
    tokens: tuple[str, ...]


@dataclass(frozen=True)
class EmptyDataTrash:
    """-> Done, with the bytes. Deletes the data sets in the trash for good; what runs need of them stays."""


@dataclass(frozen=True)
class LookUpHubData:
    """-> HubDataInfo: what a data set of the hub holds, before anything of it is fetched. `subset` is one of its
    configurations; "" takes the one that its card names first."""

    repo_id: str
    revision: str = "main"
    subset: str = ""


@dataclass(frozen=True)
class HubDataInfo:
    """`commit` is what the revision stands for now; `splits` has one entry for each of `files`, "" where a name says
    none; `skipped` are files that hold no rows or another subset's."""

    repo_id: str
    commit: str
    num_bytes: int
    licence: str
    files: tuple[str, ...]
    splits: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    subset: str = ""
    subsets: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImportHubData:
    """-> ImportReport, through huggingface_hub; sends Progress. All or nothing, like ImportData."""

    repo_id: str
    name: str
    revision: str = "main"
    subset: str = ""
    roles: dict[str, str] = field(default_factory=dict)
    task: str = ""


@dataclass(frozen=True)
class ViewTokens:
    """-> TokenView of the named rows (positions from 0), by the same code that feeds the loop."""

    data: str
    model: str
    rows: tuple[int, ...]
    recipe: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class CountTokens:
    """-> TokenStatistics, over all rows; sends Progress."""

    data: str
    model: str
    recipe: dict[str, Any] = field(default_factory=dict)


# ------------------------------------------------------------------ what is done to data (librarian)


@dataclass(frozen=True)
class ListLabels:
    """-> DataLabels: the labels of a data set, or its tags. Other names for them are a step "labels"."""

    name: str


@dataclass(frozen=True)
class DataLabels:
    """In how many rows each label stands, or how many words have each tag; the most frequent first. `column` is ""
    where no column has the role label or tags."""

    name: str
    column: str
    labels: dict[str, int]


@dataclass(frozen=True)
class ListSteps:
    """-> StepKinds: what can be done to a data set, and the form of each."""


@dataclass(frozen=True)
class StepSetting:
    """One setting of a step. `type` says what control it wants and what JSON value it has:

    switch (bool), whole (int), number (float), text (str), choice (one of `choices`), choices (a list of them),
    column (a column's name or ""), columns (a list of names; empty means every text column), lines (a list of
    texts). `titles` are the English words for `choices`, one each. `minimum` and `maximum` bound numbers.
    `title` and `help` are English; the window translates them.
    """

    name: str
    type: str
    default: Any
    title: str
    help: str = ""
    choices: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True)
class StepKind:
    """A kind of step: its name in English, what it does in one sentence, its settings in the form's order.

    `count_titles` give the English words for the keys of StepPreview.counts. `by_form` is false for the kind
    "edit", which EditCell, AddRow and DeleteRows record. `family` is its heading in the menu: clean, deduplicate,
    mask, split, balance, augment or edit.
    """

    kind: str
    title: str
    sentence: str
    settings: tuple[StepSetting, ...]
    count_titles: dict[str, str] = field(default_factory=dict)
    by_form: bool = True
    family: str = ""


@dataclass(frozen=True)
class StepKinds:
    kinds: tuple[StepKind, ...]


@dataclass(frozen=True)
class PreviewStep:
    """-> StepPreview of a step on top of those there are; sends Progress, changes nothing.

    Raises what ApplyStep would: "step-unknown", "step-setting-wrong" (fields setting, value, expected)…
    """

    name: str
    step: DataStep
    num_samples: int = 20


@dataclass(frozen=True)
class StepSample:
    """A row that the step changes. Cells in the order of StepPreview.columns, absent ones as "".

    `row` is its position before the step, -1 for a row that the step adds; `before` is empty for such a row,
    `after` is empty for a row that the step removes.
    """

    row: int
    before: tuple[str, ...]
    after: tuple[str, ...]


@dataclass(frozen=True)
class RowPair:
    """Two rows, by position before the step, that are the same or nearly so; similarity 1.0 is the same."""

    first: int
    second: int
    similarity: float
    first_text: str
    second_text: str
    removed: bool = True


@dataclass(frozen=True)
class StepPreview:
    """What a step would do to the whole data set; `samples` and `pairs` are some of it, from its beginning.

    `num_changed` counts rows that are changed, removed or added. `counts` say what was found, by code;
    StepKind.count_titles has the words.
    """

    rows_before: int
    rows_after: int
    num_changed: int
    counts: dict[str, int]
    samples: tuple[StepSample, ...]
    columns: tuple[str, ...]
    pairs: tuple[RowPair, ...] = ()


@dataclass(frozen=True)
class ApplyStep:
    """-> DatasetInfo of the new version; sends Progress. All or nothing."""

    name: str
    step: DataStep


@dataclass(frozen=True)
class SetSteps:
    """-> DatasetInfo. The data set becomes its original with these steps: to undo, reorder or change some.

    No steps brings back the original, with its hash.
    """

    name: str
    steps: tuple[DataStep, ...] = ()


@dataclass(frozen=True)
class EditCell:
    """-> DatasetInfo. Gives one cell another value; `row` is its position. Recorded as a step "edit"."""

    name: str
    row: int
    column: str
    value: str


@dataclass(frozen=True)
class AddRow:
    """-> DatasetInfo. Adds a row at the end. Recorded as a step "edit"."""

    name: str
    values: dict[str, str]


@dataclass(frozen=True)
class DeleteRows:
    """-> DatasetInfo. Removes the rows at these positions. Recorded as a step "edit"."""

    name: str
    rows: tuple[int, ...]


@dataclass(frozen=True)
class ExportData:
    """-> Done, with the size of the file. `format` is csv, jsonl or parquet; a file that is there is replaced."""

    name: str
    path: str
    format: str


@dataclass(frozen=True)
class DescribeData:
    """-> DataStatistics; sends Progress. Without a model nothing is said of tokens.

    The recipe's max_seq_len, train_on, seed and split are used where they are given.
    """

    name: str
    model: str = ""
    recipe: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SplitStatistics:
    """One split, or all rows (`name` is "" then). Histograms are (upper edge, count); shares are 0 to 1.

    `languages` and `labels` count rows, most frequent first; languages are judged of `num_language_rows` only;
    a language is an ISO 639-1 code, "zh-Hant" or "und". `num_duplicates` are rows that repeat an earlier one
    of the split. `unknown_share` and `byte_share` are the pieces of the tokenizer that stand for what it does
    not know, and for single bytes of characters that it has no piece for.
    """

    name: str
    num_rows: int
    num_characters: int
    characters: tuple[tuple[int, int], ...]
    languages: dict[str, int]
    labels: dict[str, int]
    num_duplicates: int
    num_tokens: int = 0
    tokens: tuple[tuple[int, int], ...] = ()
    num_truncated_rows: int = 0
    unknown_share: float = 0.0
    byte_share: float = 0.0
    num_language_rows: int = 0


@dataclass(frozen=True)
class SplitOverlap:
    """How many rows of `second` stand in `first` too: the same, and nearly the same (those included)."""

    first: str
    second: str
    num_exact: int
    num_near: int


@dataclass(frozen=True)
class DataStatistics:
    """`all` is the whole data set; `splits` are train, validation and test where the data set has a column
    `split`. `cut_off` is max_seq_len, for the line in the histogram; 0 without a model."""

    all: SplitStatistics
    splits: tuple[SplitStatistics, ...] = ()
    overlaps: tuple[SplitOverlap, ...] = ()
    label_column: str = ""
    cut_off: int = 0


# --------------------------------------------------------------------------------- models (librarian)


@dataclass(frozen=True)
class StarterInfo:
    """Something that ships in a package of the package index: a model or a data set."""

    id: str
    kind: str
    title: str
    description: str
    licence: str
    num_bytes: int
    installed: bool
    description_zh: str = ""
    title_zh: str = ""
    pinned_prompts: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelInfo:
    """A model on disk. `kind` is decoder or encoder; `source` says where it came from."""

    id: str
    title: str
    kind: str
    architecture: str
    num_parameters: int
    num_bytes: int
    vocabulary_size: int
    context_length: int
    licence: str
    source: str
    path: str
    has_chat_template: bool
    languages: tuple[str, ...] = ()
    created_utc: str = ""


@dataclass(frozen=True)
class ListModels:
    """-> ModelList"""


@dataclass(frozen=True)
class ModelList:
    models: tuple[ModelInfo, ...]
    starters: tuple[StarterInfo, ...]


@dataclass(frozen=True)
class GetStarter:
    """-> ModelInfo or DatasetInfo. Downloads, checks, unpacks, converts; sends Progress; cancellable."""

    id: str


@dataclass(frozen=True)
class AddModel:
    """-> ModelInfo. `path` is a folder with safetensors or a GGUF file."""

    path: str
    name: str = ""


@dataclass(frozen=True)
class GetHubModel:
    """-> ModelInfo, through huggingface_hub. `revision` may be a branch, a tag or a commit."""

    repo_id: str
    revision: str = "main"


@dataclass(frozen=True)
class CreateModel:
    """-> ModelInfo of a new model with random weights; sends Progress; cancellable. A tokenizer of at most
    `vocabulary_size` pieces is trained on the texts of the data set `data`.

    `kind` is decoder, encoder or encoder-decoder (so many layers on either side). `width` is a multiple of twice
    `num_heads`.
    """

    name: str
    data: str
    kind: str = "decoder"
    vocabulary_size: int = 8192
    width: int = 256
    num_layers: int = 6
    num_heads: int = 8
    context_length: int = 256
    seed: int = 42


@dataclass(frozen=True)
class ListRecipes:
    """-> RecipeList: the gallery of recipes that ship, in its order."""


@dataclass(frozen=True)
class RecipeInfo:
    """A recipe of the gallery: what it shows, and what of it is here. `recipe` holds its fields.

    `minutes` is about how long it takes on two cores. `needs` are the ids of starters to fetch first; `new_model` is
    made from the data, once that is here, where the recipe's model is one from scratch and is not made yet.
    `better` says which other model would do better, `warning` what its result must not be used for.
    """

    id: str
    title: str
    title_zh: str
    shows: str
    shows_zh: str
    task: str
    method: str
    model: str
    model_title: str
    model_title_zh: str
    data: str
    data_title: str
    data_title_zh: str
    licence: str
    num_rows: int
    minutes: float
    has_model: bool
    has_data: bool
    download_bytes: int
    recipe: dict[str, Any]
    needs: tuple[str, ...] = ()
    new_model: CreateModel | None = None
    better: str = ""
    better_zh: str = ""
    warning: str = ""
    warning_zh: str = ""


@dataclass(frozen=True)
class RecipeList:
    recipes: tuple[RecipeInfo, ...]


@dataclass(frozen=True)
class DeleteModel:
    """-> Done. Moves it to the trash."""

    id: str


@dataclass(frozen=True)
class RestoreFromTrash:
    """-> Done"""

    token: str


@dataclass(frozen=True)
class DescribeMachine:
    """-> MachineInfo"""


@dataclass(frozen=True)
class MachineInfo:
    """What this machine can do. `device` is what `auto` would take: cpu, cuda or mps."""

    device: str
    device_name: str
    num_cores: int
    memory_bytes: int
    free_memory_bytes: int
    free_disk_bytes: int
    has_bfloat16: bool
    gpu_memory_bytes: int = 0


@dataclass(frozen=True)
class EstimateRun:
    """-> RunEstimate for a recipe (given as its fields); measures the machine once and keeps that."""

    recipe: dict[str, Any]


@dataclass(frozen=True)
class RunEstimate:
    """A first estimate before Start. Seconds and bytes; `problems` are sentences in English, `notes` the same with
    their templates, for the window's language. `trained_token_share` says something of causal-lm alone; `num_labels`
    is 0 for a task without any, and while the rows are not here."""

    seconds: float
    num_steps: int
    memory_bytes: int
    disk_bytes: int
    download_bytes: int
    num_trainable_parameters: int
    num_tokens: int
    trained_token_share: float
    problems: tuple[str, ...] = ()
    notes: tuple[Failed, ...] = ()
    task: str = "causal-lm"
    num_train_rows: int = 0
    num_labels: int = 0


# -------------------------------------------------------------------------------- reports (librarian)


@dataclass(frozen=True)
class EvaluateModel:
    """-> EvaluationDone; sends Progress (loading, tokenising, judging, generating, baselines); can be cancelled.

    `source` is a run, "run@step", a model id or a folder. `data` "" is the run's own. `split` is train, validation,
    test or all; "" takes the run's held-out rows of its own data, and all rows of any other. `limit` 0 takes every
    row. Replies are written for `generate_limit` rows where `generate` is set; 0 takes the task's own number.
    """

    source: str
    data: str = ""
    split: str = ""
    limit: int = 0
    with_baselines: bool = True
    task: str = ""
    generate: bool = False
    generate_limit: int = 0


@dataclass(frozen=True)
class EvaluationDone:
    """`report` is what ReadReport takes. Figures go by the ids of engine.metrics; shares are 0 to 1."""

    report: str
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    baselines: dict[str, dict[str, float]]
    num_rows: int


@dataclass(frozen=True)
class ReportInfo:
    """One evaluation in a list. `run` is "" for a model of the library; `main_metric` says most of its task."""

    id: str
    task: str
    source: str
    source_title: str
    run: str
    data: str
    data_hash: str
    split: str
    num_rows: int
    num_wrong: int
    created_utc: str
    duration_s: float
    main_metric: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class ListReports:
    """-> ReportList, the newest first; of one run or model only, where `source` is given."""

    source: str = ""


@dataclass(frozen=True)
class ReportList:
    reports: tuple[ReportInfo, ...]


@dataclass(frozen=True)
class ReadReport:
    """-> Report"""

    id: str


@dataclass(frozen=True)
class ReportCurve:
    """`kind` is roc (x false positive rate, y true positive rate) or precision-recall (x recall, y precision)."""

    kind: str
    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    area: float


@dataclass(frozen=True)
class MetricFormat:
    """How a figure is shown: `format` is percent, number or nats."""

    id: str
    title: str
    higher_is_better: bool
    format: str
    help: str = ""


@dataclass(frozen=True)
class Report:
    """All but the rows. `formats` describe the figures in the order in which they are shown.

    `per_class` has one dictionary a class (label, precision, recall, f1, support …); `confusion[i][j]` counts rows of
    class i that were put into class j. `calibration` are (low, high, count, confidence, accuracy) of each bin.
    `groups` has one dictionary a group (group, num_rows, wrong_share …). `left_out` counts rows that could not be
    judged, by reason; `left_out_values` names what was not known in them. `notes` are sentences with templates.
    `error_counts` counts rows by error type, right ones under "".
    """

    info: ReportInfo
    formats: tuple[MetricFormat, ...]
    intervals: dict[str, tuple[float, float]]
    baselines: dict[str, dict[str, float]]
    baseline_titles: dict[str, str]
    labels: tuple[str, ...] = ()
    per_class: tuple[dict[str, Any], ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    curves: tuple[ReportCurve, ...] = ()
    calibration: tuple[tuple[float, ...], ...] = ()
    groups: tuple[dict[str, Any], ...] = ()
    error_counts: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    left_out_values: tuple[str, ...] = ()
    notes: tuple[Failed, ...] = ()
    environment: dict[str, Any] = field(default_factory=dict)
    order: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ReadReportRows:
    """-> ReportRows. `show` is all, wrong or right; `order` is data, best, worst or random (by `seed`).

    `truth` and `prediction` keep rows with that class, `error` those of that error type, lengths (in tokens) those
    between; `max_length` 0 is no limit.
    """

    report: str
    offset: int = 0
    num_rows: int = 100
    show: str = "all"
    order: str = "data"
    seed: int = 0
    truth: str = ""
    prediction: str = ""
    error: str = ""
    min_length: int = 0
    max_length: int = 0


@dataclass(frozen=True)
class TokenLoss:
    """A piece of what was to be said, and how surprised the model was by it, in nats."""

    text: str
    nats: float


@dataclass(frozen=True)
class ReportRow:
    """One judged row. `score` is 0 to 1, higher is better; `error` is "" where the row is right."""

    position: int
    inputs: dict[str, str]
    truth: str
    prediction: str
    score: float
    error: str
    length: int
    loss: float | None = None
    group: str = ""
    probabilities: tuple[ScoredLabel, ...] = ()
    tokens: tuple[TokenLoss, ...] = ()


@dataclass(frozen=True)
class ReportRows:
    """`total` counts all rows that fit the request."""

    rows: tuple[ReportRow, ...]
    total: int
    offset: int = 0


@dataclass(frozen=True)
class SaveHardSet:
    """-> DatasetInfo: the rows of a report that were not right, as a data set of their own."""

    report: str
    name: str


@dataclass(frozen=True)
class DeleteReport:
    """-> Done. Moves it to the trash; RestoreFromTrash(done.token) brings it back."""

    id: str


@dataclass(frozen=True)
class AdviseMethods:
    """-> MethodAdvice for a recipe (given as its fields), whatever its own method is."""

    recipe: dict[str, Any]


@dataclass(frozen=True)
class AdvisedMethod:
    """A method for one model, task and machine. `why` is what speaks for it, or against it where it does not fit.

    `exports`: model (a whole one), peft (an adapter), loader (an adapter and the one file that loads it), merged (a
    plain model), gguf. Figures are 0 where the method was refused before anything could be counted.
    """

    method: str
    fits: bool
    why: Failed
    num_trained_parameters: int
    memory_bytes: int
    seconds: float
    can_merge: bool
    exports: tuple[str, ...] = ()


@dataclass(frozen=True)
class MethodAdvice:
    """Every method, in the recipe's order. `pick` is the one to begin with, "" if none fits; `why` says why."""

    task: str
    rows: tuple[AdvisedMethod, ...]
    pick: str
    why: Failed


@dataclass(frozen=True)
class PreflightRun:
    """-> Preflight of a recipe (given as its fields), by real steps in a child that is thrown away; sends Progress.

    With `with_fixes`, and where it does not fit, changes that would make it fit are measured as well.
    """

    recipe: dict[str, Any]
    with_fixes: bool = True


@dataclass(frozen=True)
class PreflightFix:
    """A change of the recipe, by its fields, and what was measured with it."""

    changes: dict[str, Any]
    seconds: float
    peak_memory_bytes: int
    fits: bool


@dataclass(frozen=True)
class Preflight:
    """What a run will take, measured. Bytes and seconds; `low_s` to `high_s` is the range of `seconds`.

    `memory` is by part: runtime, weights, gradients, optimizer, activations, evaluation; the parts of the training
    step add up to about `peak_memory_bytes`, which was seen. `notes` say what speaks against the run.
    """

    device: str
    dtype: str
    num_steps: int
    step_seconds: float
    longest_step_seconds: float
    seconds: float
    low_s: float
    high_s: float
    peak_memory_bytes: int
    memory: dict[str, int]
    free_memory_bytes: int
    disk_bytes: int
    free_disk_bytes: int
    measured_in_s: float
    fits: bool
    notes: tuple[Failed, ...] = ()
    fixes: tuple[PreflightFix, ...] = ()


@dataclass(frozen=True)
class TuneForMachine:
    """-> MachineTuning: the fastest micro batch and number of threads for a recipe, measured; sends Progress."""

    recipe: dict[str, Any]


@dataclass(frozen=True)
class TuningTrial:
    micro_batch_size: int
    num_threads: int
    tokens_per_second: float
    peak_memory_bytes: int


@dataclass(frozen=True)
class MachineTuning:
    """`changes` are the recipe's fields that the fastest trial has; rows a step stay as they were."""

    changes: dict[str, Any]
    trials: tuple[TuningTrial, ...]
    speedup: float


# ------------------------------------------------------------------------------------ player requests


@dataclass(frozen=True)
class LoadModel:
    """-> ModelLoaded. `source` is a model id, a folder, a run id, run id + "@step" for a checkpoint, or a GGUF file."""

    source: str


@dataclass(frozen=True)
class ModelLoaded:
    """`roles` are those of the inputs that Predict needs; none for a model that writes replies."""

    source: str
    title: str
    base: str
    num_parameters: int
    has_chat_template: bool
    seconds: float
    task: str = "causal-lm"
    roles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Predict:
    """-> Predicted: what a model of any task but causal-lm says of one input.

    `inputs` go by the roles of the task's rows: text and text_pair; question and context; source; first and second.
    """

    source: str
    inputs: dict[str, str]
    top_k: int = 5


@dataclass(frozen=True)
class ScoredLabel:
    """`score` is 0 to 1."""

    label: str
    score: float


@dataclass(frozen=True)
class ScoredSpan:
    """A stretch of the input `role`, in characters, with what it was found to be (empty for an answer)."""

    role: str
    start: int
    end: int
    text: str
    score: float
    label: str = ""


@dataclass(frozen=True)
class Predicted:
    """Each task fills what it has: labels (classes, words for a mask), spans (names, answers), a text, a score."""

    task: str
    labels: tuple[ScoredLabel, ...] = ()
    spans: tuple[ScoredSpan, ...] = ()
    text: str = ""
    score: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class ChatMessage:
    """`role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True)
class SamplingSettings:
    """temperature 0 is greedy; top_k 0 is off; the seed makes a reply repeatable."""

    temperature: float = 0.7
    top_p: float = 0.9
    top_k: int = 50
    repetition_penalty: float = 1.0
    max_new_tokens: int = 200
    seed: int = 0


@dataclass(frozen=True)
class Generate:
    """-> Generated, with TextGenerated news on the way. Loads the source if it is not loaded yet."""

    source: str
    messages: tuple[ChatMessage, ...]
    settings: SamplingSettings = SamplingSettings()


@dataclass(frozen=True)
class Generated:
    """`finish` is stop (the model ended), length (max_new_tokens) or cancelled."""

    text: str
    num_prompt_tokens: int
    num_new_tokens: int
    seconds: float
    finish: str
    first_token_s: float = 0.0


# -------------------------------------------------------------------------------- news on a request


@dataclass(frozen=True)
class Progress:
    """`phase` is a stable code (downloading, checking, unpacking, converting, reading, tokenising, loading,
    measuring, creating); `unit` is bytes, rows, tokens or ""; total 0 means unknown."""

    phase: str
    done: int
    total: int
    unit: str = ""


@dataclass(frozen=True)
class TextGenerated:
    """A piece of the reply, to be appended."""

    text: str


@dataclass(frozen=True)
class Done:
    """The request has no other result. `token` is what RestoreFromTrash takes, where that applies; `kept_for` are the
    names of the runs for which something of it was kept."""

    token: str = ""
    num_bytes: int = 0
    kept_for: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failed:
    """The request's end when it could not be done: the fields of a UserError or BugError."""

    code: str
    message: str
    template: str = ""
    fields: dict[str, Any] = field(default_factory=dict)
    detail: str = ""


LibrarianRequest = (
    ImportData | PreviewData | ListData | ReadRows | ReadIssues | SetRoles | RenameData | DeleteData
    | ViewTokens | CountTokens | ListModels | GetStarter | AddModel | GetHubModel | CreateModel | DeleteModel
    | ListRecipes
    | RestoreFromTrash | DescribeMachine | EstimateRun | PreflightRun | TuneForMachine
    | ListLabels | ListSteps | PreviewStep | ApplyStep | SetSteps
    | EditCell | AddRow | DeleteRows | ExportData | DescribeData | ReadIssueRow | FixIssue | ReplaceValue
    | UndoMend | SkipIssues | ExportIssues | ListDataTrash | EmptyDataTrash | LookUpHubData | ImportHubData
    | EvaluateModel | ListReports | ReadReport | ReadReportRows | SaveHardSet | DeleteReport
    | AdviseMethods
)  # fmt: skip
PlayerRequest = (
    LoadModel | Generate | Predict
)  # fmt: skip


# ------------------------------------------------------------------------------------------- the codec


def to_json(message: Any) -> dict[str, Any]:
    """A message as JSON values, with its class under "type"."""
    return {"type": type(message).__name__, **_plain(message)}


def from_json(value: dict[str, Any]) -> Any:
    """The message that `to_json` wrote. Unknown fields are left out, so that an older build reads a newer one.

    Raises:
        KeyError: if "type" is missing or names no message of this protocol.
        TypeError: if a field that has no default is missing.
    """
    return _build(_MESSAGES[value["type"]], value)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


@functools.cache
def _field_types(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


@functools.cache
def _plain_fields(cls: type) -> frozenset[str]:
    """Fields that need no building: numbers, texts and switches, or None. Steps come by the thousand."""
    plain = {int, float, str, bool, type(None)}
    arms = {name: set(typing.get_args(kind)) or {kind} for name, kind in _field_types(cls).items()}
    return frozenset(name for name, kinds in arms.items() if kinds <= plain)


def _build(expected: Any, value: Any) -> Any:
    origin = typing.get_origin(expected)
    if origin in (Union, types.UnionType):
        chosen = [arm for arm in typing.get_args(expected) if arm is not type(None)]
        return None if value is None else _build(chosen[0], value)
    if origin is tuple:
        arms = typing.get_args(expected)
        if len(arms) == 2 and arms[1] is Ellipsis:
            return tuple(_build(arms[0], item) for item in value)
        return tuple(_build(arm, item) for arm, item in zip(arms, value, strict=True))
    if origin is dict:
        item_type = typing.get_args(expected)[1]
        return {key: _build(item_type, item) for key, item in value.items()}
    if dataclasses.is_dataclass(expected) and isinstance(expected, type):
        known, plain = _field_types(expected), _plain_fields(expected)
        return expected(
            **{
                key: item if key in plain else _build(known[key], item)
                for key, item in value.items()
                if key in known
            }
        )
    return value


_MESSAGES: dict[str, type] = {
    name: thing
    for name, thing in list(globals().items())
    if isinstance(thing, type) and dataclasses.is_dataclass(thing)
}
