"""What an import would make of a file: its first rows, the shape that was found, and what is wrong with them. Keeps
nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import islice

from engine.data.importing import SAMPLE_ROWS, Plan, nothing_usable, plan_for
from engine.data.issues import RowProblem
from engine.data.names import free_name
from engine.data.readers import read_rows
from engine.data.rows import Row
from engine.data.shapes import find_shape
from engine.data.sources import Source
from engine.data.store import to_text
from engine.messages import DataPreview, DatasetInfo, RowIssue, RowsPage


def preview_of(
    sources: Sequence[Source], skipped: Sequence[str], num_rows: int, taken: Collection[str]
) -> DataPreview:
    """The first `num_rows` rows of the first file that has any; the name is one that is not `taken`.

    Where no shape is found, `info.shape` is "" and every role is ignore.

    Raises:
        UserError: "no-rows", "no-usable-rows", or what is wrong with the file as a whole.
    """
    source, items = _first_with_rows(sources, max(num_rows, SAMPLE_ROWS))
    rows = [item.values for item in items if isinstance(item, Row)]
    if not rows:
        raise nothing_usable(sources, [item for item in items if isinstance(item, RowIssue)])
    columns = tuple(dict.fromkeys(column for row in rows for column in row))
    shape = find_shape(columns, rows)
    shown = items[:num_rows]
    issues = [item for item in shown if isinstance(item, RowIssue)]
    issues += _role_issues(shown, plan_for(rows, {}), source.label) if shape.name else []
    cells = tuple(
        tuple((to_text(item.values.get(column)) or "")[:2000] for column in columns)
        for item in shown if isinstance(item, Row)
    )  # fmt: skip
    info = DatasetInfo(
        name=free_name(sources[0].path.stem, taken), hash="",
        rows_read=len(shown), rows_kept=len(shown) - len(issues), num_issues=len(issues), task="",
        shape=shape.name, reason=shape.reason, columns=columns, roles=shape.roles,
        num_bytes=sum(source.num_bytes for source in sources), created_utc="",
        sources=tuple(source.label for source in sources), reason_template=shape.template,
        reason_fields=shape.fields, skipped=tuple(skipped),
    )  # fmt: skip
    page = RowsPage(info.name, 0, columns, cells, len(cells), tuple(range(len(cells))))
    return DataPreview(info, page, tuple(sorted(issues, key=lambda issue: issue.row)))


def _first_with_rows(sources: Sequence[Source], count: int) -> tuple[Source, list[Row | RowIssue]]:
    """The head of the first file that has a row, or of the last one."""
    items: list[Row | RowIssue] = []
    for source in sources:
        items = list(islice(read_rows(source), count))
        if any(isinstance(item, Row) for item in items):
            return source, items
    return sources[-1], items


def _role_issues(items: Sequence[Row | RowIssue], plan: Plan, label: str) -> list[RowIssue]:
    maker = plan.maker()
    issues = []
    for item in items:
        if isinstance(item, Row):
            try:
                maker.make(item.values)
            except RowProblem as problem:
                issues.append(problem.at(label, item.number, item.line))
    return issues
