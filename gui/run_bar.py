"""The bar at the bottom of every page: the run at work, how far it is, and Pause and Stop."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent, QResizeEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QProgressBar, QSizePolicy, QWidget

from engine.messages import PauseRun, ResumeRun, StopRun
from gui.icons import set_icon, set_picture
from gui.live_run import LiveRun
from gui.models.runs import STATUS_WORDS
from gui.theme import theme
from gui.widgets.numbers import amount_bytes, amount_duration, amount_loss
from gui.widgets.page import button
from gui.widgets.run_log import phase_words
from gui.widgets.text import ElidedLabel, label
from gui.words import bind, language, tr
from gui.workbench import Workbench

HEIGHT = 44
NARROW = 1000  # below this width the memory and the bar give way to the words


class RunBar(QFrame):
    """Follows the monitor's current run. `opened` carries its id when the bar is clicked.

    `try_wanted` carries the run whose result is to be tried.
    """

    opened = Signal(str)
    try_wanted = Signal(object)

    def __init__(self, workbench: Workbench, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workbench = workbench
        self._run: LiveRun | None = None
        self.setProperty("role", "runbar")
        self.setFixedHeight(HEIGHT)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self._build()
        monitor = workbench.monitor
        for signal in (monitor.started, monitor.progressed, monitor.ended, monitor.forgotten):
            signal.connect(self.refresh)
        language.changed.connect(self.refresh)
        theme.changed.connect(self._fit_numbers)
        self._fit_numbers()
        self.refresh()

    @property
    def run(self) -> LiveRun | None:
        """The run it shows."""
        return self._run

    def share_done(self) -> float | None:
        """How much of the run at work is done, 0 to 1; None when none is."""
        run = self._run
        if run is None or run.is_over or not run.num_steps:
            return None
        return min(1.0, run.step / run.num_steps)

    def refresh(self, _run_id: str = "") -> None:
        """Write the current run as it stands."""
        run = self._workbench.monitor.current
        if run is not self._run:
            self._run = run
            if run is not None:
                run.changed.connect(self._on_changed, Qt.ConnectionType.UniqueConnection)
        self._write()

    # ------------------------------------------------------------------------------------- building

    def _build(self) -> None:
        self.mark = QLabel()
        self.name = ElidedLabel("", "strong")
        self.words = ElidedLabel("", "quiet")
        self.others = label("", "chip")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setRange(0, 1000)
        self.bar.setFixedWidth(120)
        self.numbers = {name: label("", "quiet") for name in ("step", "loss", "eta", "memory")}
        self.pause_button = button("Pause", self.pause_or_resume, "pause", role="quiet")
        self.stop_button = button("Stop", self.stop, "stop", role="quiet")
        self.next_button = button("Try it", self._go_on, "sparkles", role="quiet")
        bind(self.stop_button.setToolTip, "Saves a checkpoint and ends the run; it can be resumed.")
        row = QHBoxLayout(self)
        row.setContentsMargins(16, 0, 12, 0)
        row.setSpacing(12)
        row.addWidget(self.mark)
        row.addWidget(self.name, 2)
        row.addWidget(self.others)
        row.addWidget(self.words, 3)
        row.addWidget(self.bar)
        for number in self.numbers.values():
            number.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            row.addWidget(number)
        for made in (self.pause_button, self.stop_button, self.next_button):
            made.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
            row.addWidget(made)
        self.name.setMaximumWidth(260)

    def _fit_numbers(self) -> None:
        """Each number keeps the width of its longest wording, so that the row does not jump."""
        widest = {
            "step": tr("step {step} / {total}", step="8,888", total="8,888"),
            "loss": tr("loss {loss}", loss="8.88"),
            "eta": tr("{time} left", time=tr("{minutes} m {seconds} s", minutes=88, seconds=88)),
            "memory": "8.88 GB",
        }
        for name, text in widest.items():
            number = self.numbers[name]
            number.ensurePolished()
            number.setMinimumWidth(number.fontMetrics().horizontalAdvance(text) + 2)

    # -------------------------------------------------------------------------------------- writing

    def _on_changed(self) -> None:
        self.refresh()

    def _write(self) -> None:
        run = self._run
        self.setProperty("live", run is not None)
        self.setCursor(Qt.CursorShape.ArrowCursor if run is None else Qt.CursorShape.PointingHandCursor)
        if run is None:
            set_picture(self.mark, "ring", "quiet", 16)
            self.name.setText("")
            self.words.setText(tr("No run"))
        else:
            set_picture(self.mark, *STATUS_WORDS[run.status][1:], 16)
            self.name.setText(run.name)
            self.words.setText(status_words(run))
        self.name.setVisible(run is not None)
        self._write_numbers(run)
        self._write_buttons(run)
        self._fit_numbers()
        self.setAccessibleName(f"{self.name.whole_text()} {self.words.whole_text()}".strip())
        others = sum(not each.is_over for each in self._workbench.monitor.runs.values()) - 1
        self.others.setText(f"+{others}")
        self.others.setToolTip(tr("Other runs at work: {count}", count=others))
        self.others.setVisible(others > 0)

    def _write_numbers(self, run: LiveRun | None) -> None:
        share = self.share_done()
        is_wide = self.width() >= NARROW
        self.bar.setVisible(share is not None and is_wide)
        self.bar.setValue(round(1000 * (share or 0)))
        texts = dict.fromkeys(self.numbers, "")
        if run is not None and run.step and run.num_steps:
            texts["step"] = tr("step {step} / {total}", step=f"{run.step:,}", total=f"{run.num_steps:,}")
        if run is not None and run.train_loss is not None:
            texts["loss"] = tr("loss {loss}", loss=amount_loss(run.train_loss))
        if run is not None and run.status == "running" and (to_go := run.eta_s()) is not None and to_go > 0:
            texts["eta"] = tr("{time} left", time=amount_duration(to_go))
        if run is not None and not run.is_over and (memory := run.series["memory_bytes"]):
            texts["memory"] = amount_bytes(memory[next(reversed(memory))])
        for name, text in texts.items():
            self.numbers[name].setText(text)
            shown = run is not None and (bool(text) or not run.is_over) and (is_wide or name != "memory")
            self.numbers[name].setVisible(shown)

    def _write_buttons(self, run: LiveRun | None) -> None:
        status = run.status if run is not None else ""
        at_work = status in ("running", "paused")
        self.pause_button.setVisible(at_work)
        self.stop_button.setVisible(at_work)
        self.next_button.setVisible(status in ("finished", "interrupted", "stopped", "failed"))
        self.pause_button.setText(tr("Resume") if status == "paused" else tr("Pause"))
        self.pause_button.setAccessibleName(self.pause_button.text())
        set_icon(self.pause_button, "play" if status == "paused" else "pause")
        self.next_button.setText(tr("Try it") if status == "finished" else tr("Resume"))
        self.next_button.setAccessibleName(self.next_button.text())
        set_icon(self.next_button, "sparkles" if status == "finished" else "play")

    # --------------------------------------------------------------------------------------- acting

    def pause_or_resume(self) -> None:
        if self._run is not None:
            paused = self._run.status == "paused"
            self._workbench.command(self._run.id, ResumeRun() if paused else PauseRun())

    def stop(self) -> None:
        if self._run is not None:
            self._workbench.command(self._run.id, StopRun())

    def _go_on(self) -> None:
        """What comes after an end: try the result, or resume."""
        if self._run is None:
            return
        if self._run.status == "finished":
            self.try_wanted.emit(self._run)
        else:
            self._workbench.start_again(self._run.id)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        if event.button() == Qt.MouseButton.LeftButton and self.rect().contains(event.position().toPoint()):
            self._open()
        super().mouseReleaseEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space):
            self._open()
        else:
            super().keyPressEvent(event)

    def resizeEvent(self, event: QResizeEvent) -> None:
        super().resizeEvent(event)
        self._write_numbers(self._run)

    def _open(self) -> None:
        if self._run is not None:
            self.opened.emit(self._run.id)


def status_words(run: LiveRun) -> str:
    """What the run does now, or how it ended."""
    if run.status == "running":
        return phase_words(run.phase)
    if run.status == "interrupted":
        return tr("Interrupted: resume from step {step}", step=max(run.checkpoints, default=0))
    return tr(STATUS_WORDS[run.status][0])
