"""The paged model of rows: what it asks for, what it keeps, and that nothing waits."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt

from engine.messages import RowsPage
from gui.models.issues import FILE_COLUMN, IssuesModel
from gui.models.rows import PAGE_ROWS, PAGES_KEPT, PLACEHOLDER, RowsModel
from tests.unit.gui.library_fake import issue

COLUMNS = ("prompt", "completion")


class Source:
    """Remembers what was asked for, and answers on demand."""

    def __init__(self, num_rows: int) -> None:
        self.num_rows = num_rows
        self.asked: list[int] = []
        self.model = RowsModel(self._fetch)

    def _fetch(self, offset: int, num_rows: int) -> None:
        assert num_rows == PAGE_ROWS
        self.asked.append(offset)

    def answer(self, offset: int) -> None:
        end = min(self.num_rows, offset + PAGE_ROWS)
        rows = tuple((f"p{i}", f"first\nc{i}") for i in range(offset, end))
        self.model.put_page(RowsPage("d", offset, COLUMNS, rows, self.num_rows, tuple(range(offset, end))))

    def text(self, row: int, column: int = 0) -> str:
        return str(self.model.data(self.model.index(row, column)))


@pytest.fixture
def source(qapp) -> Source:
    source = Source(1_000_000)
    source.model.reset(COLUMNS, source.num_rows)
    return source


def test_a_cell_shows_a_placeholder_until_its_page_is_here(source: Source, qtbot) -> None:
    assert source.model.rowCount() == 1_000_000
    assert source.text(450) == PLACEHOLDER
    qtbot.waitUntil(lambda: source.asked == [400])
    source.answer(400)
    assert source.text(450) == "p450"
    assert source.text(450, 1) == "first ↵ c450"
    assert source.model.headerData(450, Qt.Orientation.Vertical) == "451"
    assert source.model.row_at(450) == ("p450", "first\nc450")


def test_the_rows_numbers_appear_with_their_page(source: Source, qtbot) -> None:
    source.text(400)
    qtbot.waitUntil(lambda: source.asked == [400])
    with qtbot.waitSignal(source.model.headerDataChanged) as told:
        source.answer(400)
    assert told.args == [Qt.Orientation.Vertical, 400, 400 + PAGE_ROWS - 1]


def test_a_fast_scroll_asks_for_where_it_ends_not_for_all_it_passed(source: Source, qtbot) -> None:
    for row in range(0, 200_000, PAGE_ROWS):
        source.text(row)
    qtbot.waitUntil(lambda: len(source.asked) == 2)
    assert source.asked == [199_800, 199_600]
    source.answer(199_800)
    source.answer(199_600)
    assert len(source.asked) <= 4


def test_a_page_under_way_is_not_asked_for_twice(source: Source, qtbot) -> None:
    source.text(0)
    qtbot.waitUntil(lambda: source.asked == [0])
    source.text(1)
    qtbot.wait(40)
    assert source.asked == [0]


def test_a_refused_page_is_asked_for_again_when_looked_at(source: Source, qtbot) -> None:
    source.text(0)
    qtbot.waitUntil(lambda: source.asked == [0])
    source.model.drop_page(0)
    source.text(0)
    qtbot.waitUntil(lambda: source.asked == [0, 0])


def test_only_so_many_pages_are_kept_the_oldest_go(source: Source) -> None:
    for page in range(PAGES_KEPT + 5):
        source.answer(page * PAGE_ROWS)
    assert source.model.num_pages_kept == PAGES_KEPT
    assert source.text(0) == PLACEHOLDER
    assert source.text((PAGES_KEPT + 4) * PAGE_ROWS) == f"p{(PAGES_KEPT + 4) * PAGE_ROWS}"


def test_a_search_learns_its_number_of_rows_from_the_first_page(source: Source, qtbot) -> None:
    counts: list[int] = []
    source.model.counted.connect(counts.append)
    source.model.reset(COLUMNS, None)
    assert source.model.rowCount() == 0
    qtbot.waitUntil(lambda: source.asked == [0])
    source.model.put_page(RowsPage("d", 0, COLUMNS, (("a", "b"), ("c", "d")), 2, (17, 99)))
    assert source.model.rowCount() == 2
    assert counts == [2]
    assert source.model.position_at(1) == 99
    assert source.model.headerData(1, Qt.Orientation.Vertical) == "100"


def test_fewer_rows_than_said_leave_no_placeholders(source: Source) -> None:
    source.num_rows = 3
    source.answer(0)
    assert source.model.rowCount() == 3


def test_issues_are_filtered_and_sorted_by_number(qapp) -> None:
    model = IssuesModel()
    model.set_issues([issue(7), issue(30), issue(111)])
    model.sort(1, Qt.SortOrder.DescendingOrder)
    assert [model.issue_at(row).row for row in range(3)] == [111, 30, 7]
    model.filter("ROW 30 OF")
    assert [model.issue_at(row).row for row in range(model.rowCount())] == [30]
    model.filter("")
    model.sort(-1)
    assert [model.issue_at(row).row for row in range(3)] == [7, 30, 111]
    assert model.index(0, FILE_COLUMN).data() == "reviews.jsonl"
