"""A librarian for tests that speaks the messages from memory: answers come later, on the window's thread."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QObject, QTimer, Signal

from engine.messages import (
    AddModel,
    AddRow,
    ApplyStep,
    CountTokens,
    CreateModel,
    DataList,
    DataPreview,
    DatasetInfo,
    DataStatistics,
    DataStep,
    DataTrash,
    DataVersion,
    DeleteData,
    DeleteModel,
    DeleteRows,
    DescribeData,
    Done,
    EditCell,
    ExportData,
    ExportIssues,
    Failed,
    GetHubModel,
    GetStarter,
    ImportData,
    ImportReport,
    IssuesPage,
    ListData,
    ListDataTrash,
    ListModels,
    ListRecipes,
    ListSteps,
    ModelInfo,
    ModelList,
    PreviewData,
    PreviewStep,
    Progress,
    ReadIssues,
    ReadRows,
    RecipeList,
    RenameData,
    RestoreFromTrash,
    RowIssue,
    RowPair,
    RowsPage,
    SetRoles,
    SetSteps,
    SplitOverlap,
    SplitStatistics,
    StarterInfo,
    StepKind,
    StepKinds,
    StepPreview,
    StepSample,
    StepSetting,
    TokenChip,
    TokenRow,
    TokenStatistics,
    TokenView,
    ViewTokens,
)
from gui.backstage import Backstage
from gui.service import Service, Ticket

NOW = "2026-11-20T08:30:00+00:00"
DATA_STARTER = StarterInfo(
    "support-desk", "data", "Support desk replies", "Replies of a small outdoor shop's desk.", "CC0-1.0", 106_520,
    False, "一家小型户外用品店客服的回复。", "客服回复示例",
)  # fmt: skip
MODEL_STARTER = StarterInfo(
    "smollm2-135m-instruct", "model", "SmolLM2 135M Instruct", "A small English chat model.", "Apache-2.0",
    92_871_040, False, "一个小型英文对话模型。", "SmolLM2 135M Instruct（英文对话模型）",
)  # fmt: skip
MODEL = ModelInfo(
    "smollm2-135m-instruct", "SmolLM2 135M Instruct", "decoder", "LlamaForCausalLM", 134_515_008, 272_596_402,
    49_152, 8192, "Apache-2.0", "starter:smollm2-135m-instruct", "/home/me/models/smollm2-135m-instruct", True,
    ("en",), NOW,
)  # fmt: skip
ENCODER = ModelInfo(
    "all-minilm-l6-v2", "all-MiniLM-L6-v2", "encoder", "BertModel", 22_713_216, 91_618_503, 30_522, 512,
    "Apache-2.0", "folder:/models/minilm", "/home/me/models/all-minilm-l6-v2", False, ("en",), NOW,
)  # fmt: skip


def dataset(name: str, num_rows: int = 993, num_issues: int = 7, **changes: Any) -> DatasetInfo:
    """A data set of prompts and completions."""
    info = DatasetInfo(
        name=name, hash="3f2a" * 16, rows_read=num_rows + num_issues, rows_kept=num_rows, num_issues=num_issues,
        task="causal-lm", shape="prompt-completion",
        reason="The columns 'question' and 'answer' are named like a prompt and its completion.",
        reason_template="The columns {first!r} and {second!r} are named like a prompt and its completion.",
        reason_fields={"first": "question", "second": "answer"},
        columns=("question", "answer", "source"),
        roles={"question": "prompt", "answer": "completion", "source": "ignore"}, num_bytes=214_000,
        created_utc=NOW, sources=(f"/home/me/{name}.jsonl",),
    )  # fmt: skip
    return dataclasses.replace(info, **changes)


def issue(row: int) -> RowIssue:
    template = "Row {row} of {file} has no {column!r} (found: {found})."
    fields = {"row": row, "file": "reviews.jsonl", "column": "completion", "found": "prompt, answer"}
    return RowIssue(
        "reviews.jsonl", row, "missing-column", template.format(**fields), "completion", "prompt, answer", row,
        template, fields,
    )  # fmt: skip


def row_text(position: int) -> tuple[str, str, str]:
    return (
        f"Question {position}: my parcel has not come yet. Where is it?\nI ordered on Monday.",
        f"Hello, and thank you for writing! Your parcel {position} leaves our store today. 祝您一切顺利！",
        "desk" if position % 2 else "mail",
    )


def token_row(position: int) -> TokenRow:
    """A row of chips cut by words: a prompt that is read, an answer that is trained."""
    prompt, answer, _ = row_text(position)
    pieces = [("<|im_start|>", False, True), *((p, False, False) for p in _words(f"user\n{prompt}"))]
    pieces += [("<|im_end|>", False, True), ("\n", False, False), *((p, True, False) for p in _words(answer))]
    pieces += [("<|im_end|>", True, True)]
    chips, at = [], 0
    for number, (text, trained, special) in enumerate(pieces):
        chips.append(TokenChip(1000 + number, text, trained, special, at, at + len(text)))
        at += len(text)
    checks = ("truncated-completion",) if position == 5 else ()
    return TokenRow(position, tuple(chips), len(chips), sum(chip.trained for chip in chips), checks)


def _words(text: str) -> list[str]:
    return re.findall(r"\n| ?[^\s一-鿿]+|[一-鿿]{1,2}| ", text)


COLUMNS_SETTING = StepSetting("columns", "columns", [], "Columns")
KINDS = (
    StepKind(
        "clean", "Clean texts", "Repairs broken characters and removes what nobody wants to read.",
        (COLUMNS_SETTING, StepSetting("white_space", "switch", True, "Tidy white space"),
         StepSetting("control", "switch", True, "Remove control characters")),
        {"white_space": "texts with untidy white space"}, family="clean",
    ),
    StepKind(
        "length", "Limit length", "Removes rows that are too short or too long, counted in characters.",
        (COLUMNS_SETTING, StepSetting("min_chars", "whole", 1, "At least", minimum=0),
         StepSetting("max_chars", "whole", 0, "At most", "0 means no limit.", minimum=0)),
        {"too_long": "rows too long"}, family="clean",
    ),
    StepKind(
        "deduplicate", "Remove duplicates", "Removes rows whose texts stand in another row, and shows the pairs.",
        (COLUMNS_SETTING, StepSetting("threshold", "number", 0.8, "Similarity", minimum=0.3, maximum=1.0)),
        {"near": "near duplicates"}, family="deduplicate",
    ),
    StepKind(
        "mask", "Mask personal data", "Replaces personal data by tags such as [EMAIL] and counts it by kind.",
        (COLUMNS_SETTING, StepSetting("kinds", "choices", ["email", "phone"], "Look for", "", ("email", "phone"),
                                      ("E-mail addresses", "Phone numbers"))),
        {"email": "e-mail addresses", "phone": "phone numbers"}, family="mask",
    ),
    StepKind(
        "edit", "Edit by hand", "Changes a cell, adds a row or removes rows.",
        (StepSetting("rows", "positions", [], "Rows"), StepSetting("values", "values", {}, "Values")),
        {}, by_form=False, family="edit",
    ),
)  # fmt: skip
Row = tuple[str, ...]


def carried_out(rows: list[Row], step: DataStep, columns: tuple[str, ...]) -> list[Row | None]:
    """What becomes of each row, None for one that goes; rows that are added stand behind."""
    if step.kind == "clean":
        return [tuple(" ".join(cell.split()) for cell in row) for row in rows]
    if step.kind == "length":
        longest = step.settings.get("max_chars", 0) or 10**9
        return [row if len(row[0]) <= longest else None for row in rows]
    if step.kind == "deduplicate":
        return [None if at in (7, 11) else row for at, row in enumerate(rows)]
    if step.kind == "mask":
        return [(row[0] + " [EMAIL]", *row[1:]) if at % 100 == 0 else row for at, row in enumerate(rows)]
    action, places = step.settings["action"], step.settings.get("rows", ())
    values = step.settings.get("values", {})
    if action == "add":
        return [*rows, tuple(values.get(column, "") for column in columns)]
    changed: list[Row | None] = list(rows)
    for place in places:
        row = rows[place]
        changed[place] = tuple(values.get(c, cell) for c, cell in zip(columns, row, strict=True))
        if action == "delete":
            changed[place] = None
    return changed


class FakeLibrarian(Service):
    """Answers each request after `delay_ms`, in order; `refuse` makes a kind of request fail."""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__("engine.librarian", "/nowhere", parent)
        self.datasets: list[DatasetInfo] = []
        self.models: list[ModelInfo] = []
        self.starters: list[StarterInfo] = [MODEL_STARTER, DATA_STARTER]
        self.trash: dict[str, Any] = {}
        self.asked: list[Any] = []
        self.refuse: dict[type, Failed] = {}
        self.hold: set[type] = set()  # requests of these kinds wait for `release`
        self.held: list[Callable[[], None]] = []
        self.cancelled: list[int] = []
        self.delay_ms = 0
        self.splits: dict[str, float] = {}  # share of rows by split, for DescribeData
        self.is_closed = False

    def ask(
        self,
        request: Any,
        on_result: Callable[[Any], Any] | None = None,
        *,
        on_news: Callable[[Any], Any] | None = None,
        on_failed: Callable[[Failed], Any] | None = None,
    ) -> Ticket:
        ticket = Ticket(self._next_id, self, on_result, on_news, on_failed)
        self._next_id += 1
        self._tickets[ticket.id] = ticket
        self.asked.append(request)

        def answer() -> None:
            refused = self.refuse.get(type(request))
            if ticket.id in self._tickets and not self.is_closed:
                self._deliver(ticket.id, refused or self.answer(request, on_news or (lambda _news: None)))

        if type(request) in self.hold:
            self.held.append(answer)
        else:
            QTimer.singleShot(self.delay_ms, self, answer)
        return ticket

    def cancel(self, ticket_id: int) -> None:
        self.cancelled.append(ticket_id)
        if ticket_id in self._tickets:
            text = "Cancelled. Nothing was kept."
            QTimer.singleShot(0, self, lambda: self._deliver(ticket_id, Failed("cancelled", text, text)))

    def close(self) -> None:
        """What is pending, and what is asked from now on, gets no answer."""
        self.is_closed = True
        super().close()

    def release(self) -> None:
        """Answer what was held."""
        held, self.held = self.held, []
        for answer in held:
            answer()

    def asked_of(self, kind: type) -> list[Any]:
        return [request for request in self.asked if isinstance(request, kind)]

    def answer(self, request: Any, tell: Callable[[Any], Any]) -> Any:
        name = getattr(request, "data", "") or getattr(request, "name", "")
        if (
            name
            and not isinstance(request, ImportData | AddModel)
            and name not in [one.name for one in self.datasets]
        ):
            text = "There is no data set {data!r}."
            return Failed("data-not-found", text.format(data=name), text, {"data": name})
        return getattr(self, f"_answer_{type(request).__name__}")(request, tell)

    def _info(self, name: str) -> DatasetInfo:
        return next(info for info in self.datasets if info.name == name)

    def _swap(self, name: str, info: DatasetInfo) -> None:
        self.datasets = [info if one.name == name else one for one in self.datasets]

    def _answer_ListData(self, _request: ListData, _tell: Any) -> DataList:
        return DataList(tuple(self.datasets), tuple(self.starters))

    def _answer_ListModels(self, _request: ListModels, _tell: Any) -> ModelList:
        return ModelList(tuple(self.models), tuple(self.starters))

    def _answer_ListRecipes(self, _request: ListRecipes, _tell: Any) -> RecipeList:
        from engine.gallery import all_recipes
        from engine.home import Home

        return RecipeList(tuple(one.info(Home(Path("no-home"))) for one in all_recipes()))

    def _answer_PreviewData(self, request: PreviewData, _tell: Any) -> DataPreview:
        rows = tuple(row_text(position) for position in range(48))
        info = dataset(Path(request.paths[0]).stem, 48, 2)
        return DataPreview(info, RowsPage("", 0, info.columns, rows), (issue(3), issue(17)))

    def _answer_ImportData(self, request: ImportData, tell: Any) -> ImportReport:
        tell(Progress("reading", 120_000, 214_000, "bytes"))
        info = dataset(request.name)
        if request.roles:
            info = dataclasses.replace(info, roles=request.roles)
        self.datasets.append(info)
        return ImportReport(info, tuple(issue(row) for row in range(7)))

    def _answer_ReadRows(self, request: ReadRows, _tell: Any) -> RowsPage:
        info = self._info(request.name)
        if info.steps or request.sort:
            return self._page_of(info, request)
        if request.query:
            found = [
                p
                for p in range(info.rows_kept)
                if request.query.casefold() in "\n".join(row_text(p)).casefold()
            ]
        else:
            found = list(range(info.rows_kept)) if info.rows_kept < 10_000 else range(info.rows_kept)  # type: ignore[assignment]
        positions = tuple(found[request.offset : request.offset + request.num_rows])
        rows = tuple(row_text(position) for position in positions)
        return RowsPage(request.name, request.offset, info.columns, rows, len(found), positions)

    def _page_of(self, info: DatasetInfo, request: ReadRows) -> RowsPage:
        """A page of a version that steps have made."""
        rows, query = self._rows(info, info.steps), request.query.casefold()
        found = [at for at, row in enumerate(rows) if query in "\n".join(row).casefold()]
        if request.sort:
            column = info.columns.index(request.sort)
            found.sort(key=lambda at: rows[at][column], reverse=request.descending)
        here = found[request.offset : request.offset + request.num_rows]
        return RowsPage(
            info.name, request.offset, info.columns, tuple(rows[at] for at in here), len(found), tuple(here)
        )

    def _rows(self, info: DatasetInfo, steps: tuple[DataStep, ...]) -> list[Row]:
        rows: list[Row] = [row_text(p) for p in range(info.original_rows or info.rows_kept)]
        for step in steps:
            rows = [row for row in carried_out(rows, step, info.columns) if row is not None]
        return rows

    def _with_steps(self, name: str, steps: tuple[DataStep, ...]) -> DatasetInfo:
        info = self._info(name)
        counts = [len(self._rows(info, steps[:number])) for number in range(len(steps) + 1)]
        hashes = [
            f"{number}{info.name.encode().hex()}{number}".ljust(64, "a") for number in range(len(counts))
        ]
        versions = tuple(DataVersion(*pair) for pair in zip(hashes, counts, strict=True))
        made = dataclasses.replace(
            info, steps=steps, versions=versions if steps else (), rows_kept=counts[-1],
            original_rows=counts[0] if steps else 0, hash=hashes[-1] if steps else "3f2a" * 16,
        )  # fmt: skip
        self._swap(name, made)
        return made

    def _answer_ListSteps(self, _request: ListSteps, _tell: Any) -> StepKinds:
        return StepKinds(KINDS)

    def _answer_PreviewStep(self, request: PreviewStep, tell: Any) -> StepPreview | Failed:
        if request.step.settings.get("max_chars", 0) == 1:
            text = "{setting!r} cannot be {value}: {expected}."
            fields = {"setting": "max_chars", "value": 1, "expected": "0 or ≥ 2"}
            return Failed("step-setting-wrong", text.format(**fields), text, fields)
        info = self._info(request.name)
        before = self._rows(info, info.steps)
        tell(Progress("reading", len(before) // 2, len(before), "rows"))
        after = carried_out(before, request.step, info.columns)
        changed = [at for at, row in enumerate(before) if after[at] != row]
        samples = tuple(StepSample(at, before[at], after[at] or ()) for at in changed[: request.num_samples])
        pairs: tuple[RowPair, ...] = ()
        if request.step.kind == "deduplicate":
            pairs = tuple(RowPair(at - 1, at, 0.93, before[at - 1][0], before[at][0]) for at in changed)
        counts = {"clean": {"white_space": len(changed)}, "mask": {"email": len(changed), "phone": 0}}
        num_after = sum(row is not None for row in after)
        return StepPreview(
            len(before),
            num_after,
            len(changed),
            counts.get(request.step.kind, {}),
            samples,
            info.columns,
            pairs,
        )

    def _answer_ApplyStep(self, request: ApplyStep, tell: Any) -> DatasetInfo:
        info = self._info(request.name)
        tell(Progress("writing", info.rows_kept // 2, info.rows_kept, "rows"))
        return self._with_steps(request.name, (*info.steps, request.step))

    def _answer_SetSteps(self, request: SetSteps, _tell: Any) -> DatasetInfo:
        return self._with_steps(request.name, request.steps)

    def _edited(self, name: str, **settings: Any) -> DatasetInfo:
        return self._with_steps(name, (*self._info(name).steps, DataStep("edit", settings)))

    def _answer_EditCell(self, request: EditCell, _tell: Any) -> DatasetInfo:
        values = {request.column: request.value}
        return self._edited(request.name, action="cell", rows=[request.row], values=values)

    def _answer_AddRow(self, request: AddRow, _tell: Any) -> DatasetInfo:
        return self._edited(request.name, action="add", values=request.values)

    def _answer_DeleteRows(self, request: DeleteRows, _tell: Any) -> DatasetInfo:
        return self._edited(request.name, action="delete", rows=list(request.rows))

    def _answer_ExportData(self, request: ExportData, _tell: Any) -> Done:
        Path(request.path).write_text(request.format, encoding="utf-8")
        return Done("", 5_000)

    def _answer_DescribeData(self, request: DescribeData, tell: Any) -> DataStatistics:
        num_rows = self._info(request.name).rows_kept
        tell(Progress("reading", num_rows // 2, num_rows, "rows"))
        has_model = bool(request.model)
        lengths = tuple((edge * 20, num_rows // (2 + abs(edge - 6))) for edge in range(1, 31))
        tokens = tuple((edge * 40, num_rows // (2 + abs(edge - 5))) for edge in range(1, 26))

        def split(name: str, share: float) -> SplitStatistics:
            count = int(num_rows * share)
            return SplitStatistics(
                name, count, count * 120, lengths, {"en": count * 3 // 4, "zh": count // 4},
                {"refund": count // 2, "delivery": count // 4, "other": count // 4}, 12,
                count * 50 if has_model else 0, tokens if has_model else (), 31 if has_model else 0,
                0.0004 if has_model else 0.0, 0.021 if has_model else 0.0,
            )  # fmt: skip

        return DataStatistics(
            split("", 1.0), tuple(split(name, share) for name, share in self.splits.items()),
            (SplitOverlap("train", "validation", 2, 5),) if self.splits else (), "source",
            int(request.recipe.get("max_seq_len", 0)),
        )  # fmt: skip

    def _answer_ReadIssues(self, request: ReadIssues, _tell: Any) -> IssuesPage:
        total = self._info(request.name).num_issues
        rows = range(request.offset, min(total, request.offset + request.num_rows))
        return IssuesPage(tuple(issue(row * 13 + 2) for row in rows), total)

    def _answer_ExportIssues(self, request: ExportIssues, _tell: Any) -> Done:
        rows = [f"{row}," for row in range(self._info(request.name).num_issues)]
        Path(request.path).write_text("\n".join(["row,", *rows]), "utf-8-sig")
        return Done(num_bytes=1)

    def _answer_ListDataTrash(self, _request: ListDataTrash, _tell: Any) -> DataTrash:
        found = [(token, info) for token, info in self.trash.items() if isinstance(info, DatasetInfo)]
        return DataTrash(tuple(info for _, info in found), tuple(token for token, _ in found))

    def _answer_SetRoles(self, request: SetRoles, _tell: Any) -> ImportReport:
        info = self._info(request.name)
        is_whole = {"prompt", "completion"} <= set(request.roles.values())
        kept = 993 if is_whole and request.roles.get("question") == "prompt" else 900
        info = dataclasses.replace(
            info, roles=request.roles, rows_kept=kept, num_issues=info.rows_read - kept
        )
        self._swap(request.name, info)
        return ImportReport(info, ())

    def _answer_RenameData(self, request: RenameData, _tell: Any) -> DatasetInfo:
        info = dataclasses.replace(self._info(request.name), name=request.new_name)
        self._swap(request.name, info)
        return info

    def _answer_DeleteData(self, request: DeleteData, _tell: Any) -> Done:
        info = self._info(request.name)
        self.datasets.remove(info)
        self.trash[f"data-{info.name}"] = info
        return Done(f"data-{info.name}", info.num_bytes)

    def _answer_DeleteModel(self, request: DeleteModel, _tell: Any) -> Done:
        info = next(model for model in self.models if model.id == request.id)
        self.models.remove(info)
        self.trash[f"model-{info.id}"] = info
        return Done(f"model-{info.id}", info.num_bytes)

    def _answer_RestoreFromTrash(self, request: RestoreFromTrash, _tell: Any) -> Done:
        back = self.trash.pop(request.token)
        (self.models if isinstance(back, ModelInfo) else self.datasets).append(back)
        return Done()

    def _answer_GetStarter(self, request: GetStarter, tell: Any) -> ModelInfo | DatasetInfo:
        starter = next(one for one in self.starters if one.id == request.id)
        tell(Progress("downloading", starter.num_bytes // 2, starter.num_bytes, "bytes"))
        self.starters = [
            dataclasses.replace(one, installed=one.installed or one is starter) for one in self.starters
        ]
        if starter.kind == "model":
            self.models.append(MODEL)
            return MODEL
        info = dataset(starter.id, 320, 0, title=starter.title, licence=starter.licence)
        self.datasets.append(info)
        return info

    def _answer_AddModel(self, request: AddModel, _tell: Any) -> ModelInfo:
        model = dataclasses.replace(MODEL, id=Path(request.path).stem, title=Path(request.path).stem)
        self.models.append(model)
        return model

    def _answer_GetHubModel(self, request: GetHubModel, _tell: Any) -> ModelInfo:
        name = request.repo_id.rsplit("/", maxsplit=1)[-1]
        model = dataclasses.replace(
            MODEL, id=name, title=name, source=f"hub:{request.repo_id}@{request.revision}"
        )
        self.models.append(model)
        return model

    def _answer_CreateModel(self, request: CreateModel, tell: Any) -> ModelInfo:
        tell(Progress("creating", 0, 0))
        model = dataclasses.replace(MODEL, id=request.name, title=request.name, source=f"made:{request.data}")
        self.models.append(model)
        return model

    def _answer_ViewTokens(self, request: ViewTokens, _tell: Any) -> TokenView:
        last = self._info(request.data).rows_kept
        return TokenView(tuple(token_row(position) for position in request.rows if position < last))

    def _answer_CountTokens(self, request: CountTokens, tell: Any) -> TokenStatistics:
        num_rows = self._info(request.data).rows_kept
        tell(Progress("tokenising", num_rows // 2, num_rows, "rows"))
        return TokenStatistics(
            num_rows, num_rows * 50, num_rows * 22, 3, 511, ((64, num_rows), (128, 0)),
            {"truncated-completion": 3, "nothing-trained": 0}, {"truncated-completion": (5, 17, 40)},
        )  # fmt: skip


class FakeWorkbench(QObject):
    """What panels see of a workbench, around a FakeLibrarian."""

    go = Signal(str, object)
    library_changed = Signal()
    history_changed = Signal()
    said = Signal(str, object)
    failed = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.librarian = FakeLibrarian(self)
        self.backstage = Backstage(self)
        self.librarian.failed.connect(self.failed)
        self.went: list[tuple[str, object]] = []
        self.sentences: list[tuple[str, Any]] = []
        self.go.connect(lambda place, what: self.went.append((place, what)))
        self.said.connect(lambda text, undo: self.sentences.append((text, undo)))

    def close(self) -> None:
        self.backstage.close()
