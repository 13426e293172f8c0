"""Hostile files, made at random and damaged at random, go through the import: each ends in rows or in a sentence.

    python -m tests.fuzz_import --minutes 10 --memory-mb 1500

A child does the imports; this process watches its memory and time, so that a crash of a library below Python, a file
that takes all memory and one that never ends are found, too. What failed is kept under --keep. Exit 1 if anything did.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import random
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

CASE_SECONDS = 60.0
BLANKS = (" ", "\t")
Make = Callable[[random.Random], bytes]
Rows = list[dict[str, Any]]

TEXTS = (
    "How do I reset my password?", "重置密码", "é", "=1+1", "'=1", "", " ", "\t", "a\nb", "a\r\nb", '"', '""', "'", ",",
    ";", "|", "\\", "\u2028", "\ufeff", "\x00", "\x0b", "x" * 3000, "NaN", "null", "007", "1e999", "-5", "<b>&amp;</b>",
    "{", "[", "]]>", "%s", "𝔘𝔫𝔦", "مرحبا", "../../etc/passwd",
)  # fmt: skip
SHAPES = (
    ("prompt", "completion"), ("instruction", "output"), ("text", "label"), ("text",),
    ("question", "context", "answers"), ("source", "target"), ("messages",), ("tokens", "tags"),
    ("prompt", "chosen", "rejected"), ("a", "b"), ("", "1"),
    ("sentence1", "sentence2", "score"),
)  # fmt: skip
HOSTILE = (
    b"NaN", b"Infinity", b"-Infinity", b"\\ud800", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\x1a", b"\r", b"\n\n", b'"',
    b"'", b"[" * 100_000, b'{"a":' * 20_000, b"9" * 5_000, b"1e400", b"x" * 300_000, b"\xe4\xb8", b"\x80" * 50,
    b'{"a":1,"a":2}', b",,,,,,,,", b"<!ENTITY a 'aaaa'>", b"&a;&a;&a;", b"*a", b"&x [*x]",
    b"PAR1", b"ARROW1", b"\x1f\x8b", b"PK\x03\x04",
    b"=cmd|'/c calc'!A1", b"]}", b"}", b"\xf0\x9f\x98\x80",
)  # fmt: skip


# ------------------------------------------------------------------------------------------- sound files


def some_rows(chance: random.Random) -> Rows:
    columns = chance.choice(SHAPES)
    return [{column: some_value(chance, column) for column in columns} for _ in range(chance.randint(1, 30))]


def some_value(chance: random.Random, column: str) -> Any:
    if chance.random() < 0.05:
        return chance.choice([None, 1, -1.5, True, [], {}, 2**80, [[1]], {"a": None}])
    match column:
        case "messages":
            roles = chance.choices(
                ["system", "user", "assistant", "tool", "human", "gpt", "x"], k=chance.randint(0, 4)
            )
            return [{"role": role, "content": chance.choice(TEXTS)} for role in roles]
        case "answers":
            return {"text": [chance.choice(TEXTS)], "answer_start": [chance.randint(-2, 40)]}
        case "tokens" | "tags":
            return chance.choices(["O", "B-PER", "word", ""], k=chance.randint(0, 4))
        case "score":
            return chance.choice([0, 0.5, 1, 5, -1, "x"])
    return chance.choice(TEXTS) + str(chance.randint(0, 9))


def as_lines(chance: random.Random) -> bytes:
    return "\n".join(
        json.dumps(row, ensure_ascii=chance.random() < 0.5) for row in some_rows(chance)
    ).encode()


def as_json(chance: random.Random) -> bytes:
    rows = some_rows(chance)
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    value = chance.choice([rows, {"data": rows}, rows[0], columns, [[1, 2]], "text", 5])
    return json.dumps(value, indent=chance.choice([None, 1])).encode()


def as_squad(chance: random.Random) -> bytes:
    answers = [{"text": chance.choice(TEXTS), "answer_start": chance.randint(-3, 50)}]
    asked = [{"id": str(n), "question": chance.choice(TEXTS), "answers": answers} for n in range(3)]
    paragraphs = [{"context": chance.choice(TEXTS) * 3, "qas": asked}]
    return json.dumps({"version": "1", "data": [{"title": "t", "paragraphs": paragraphs}]}).encode()


def as_table(chance: random.Random) -> bytes:
    import csv

    rows = some_rows(chance)
    file = io.StringIO()
    writer = csv.writer(
        file, delimiter=chance.choice(",\t;|"), quotechar=chance.choice("\"'"),
        lineterminator=chance.choice(["\n", "\r\n", "\r"]), quoting=chance.choice([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    )  # fmt: skip
    if chance.random() < 0.8:
        writer.writerow(rows[0])
    for row in rows:
        writer.writerow([str(value).replace("\0", "") for value in row.values()])
    return file.getvalue().encode(
        chance.choice(["utf-8", "utf-8-sig", "utf-16", "gb18030", "utf-16-le"]), "replace"
    )


def as_text(chance: random.Random) -> bytes:
    text = chance.choice(["\n", "\n\n", "\r\n"]).join(chance.choices(TEXTS, k=chance.randint(1, 40)))
    return text.encode(
        chance.choice(["utf-8", "gb18030", "big5", "utf-16", "shift_jis", "cp1252"]), "replace"
    )


def as_parquet(chance: random.Random) -> bytes:
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(_arrow_table(chance), sink, compression=chance.choice(["none", "snappy", "zstd"]))
    return sink.getvalue()


def as_arrow(chance: random.Random) -> bytes:
    import pyarrow as pa

    table, sink = _arrow_table(chance), io.BytesIO()
    make = chance.choice([pa.ipc.new_file, pa.ipc.new_stream])
    with make(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _arrow_table(chance: random.Random) -> Any:
    import pyarrow as pa

    rows = [{key: str(value) for key, value in row.items()} for row in some_rows(chance)]
    return pa.table({key: [row[key] for row in rows] for key in rows[0]})


def as_catalogue(chance: random.Random) -> bytes:
    entries = ['msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n']
    for number in range(chance.randint(1, 10)):
        fuzzy = "#, fuzzy\n" if chance.random() < 0.2 else ""
        text = json.dumps(chance.choice(TEXTS), ensure_ascii=False)
        entries.append(f'{fuzzy}msgid "id {number}"\nmsgstr {text}\n')
    return "\n".join(entries).encode("utf-8", "replace")


def as_memory(chance: random.Random) -> bytes:
    bomb = (
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>' if chance.random() < 0.3 else ""
    )
    unit = "<tu><tuv xml:lang='en'><seg>a</seg></tuv><tuv xml:lang='zh'><seg>甲</seg></tuv></tu>"
    return f"<?xml version='1.0'?>{bomb}<tmx version='1.4'><body>{unit * chance.randint(0, 9)}</body></tmx>".encode()


def as_yaml(chance: random.Random) -> bytes:
    lines = "".join(
        f"- - {json.dumps(chance.choice(TEXTS))}\n  - hello\n" for _ in range(chance.randint(1, 9))
    )
    return (
        chance.choice(["", "categories:\n- a\n", "a: &a [x]\nb: *a\n"]).encode()
        + f"conversations:\n{lines}".encode()
    )


def as_columns(chance: random.Random) -> bytes:
    """Words and tags a line, as CoNLL has them."""
    lines = [
        f"{chance.choice(TEXTS)}{chance.choice(BLANKS)}{chance.choice(('O', 'B-PER', 'I-PER'))}"
        for _ in range(20)
    ]
    return "\n".join(line if chance.random() < 0.9 else "" for line in lines).encode()


def as_zip(chance: random.Random) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(chance.randint(0, 4)):
            name = chance.choice(
                ["rows.jsonl", "../../evil.jsonl", "/abs.csv", "sport/1.txt", "music/2.txt", "a/b.zip"]
            )
            archive.writestr(f"{number}{name}" if name[0] not in "./" else name, a_file(chance, depth=1)[1])
    return sink.getvalue()


def as_tar(chance: random.Random) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode=chance.choice(["w", "w:gz", "w:xz"])) as archive:
        for name in chance.sample(["rows.jsonl", "../../evil.csv", "pos.txt", "neg.txt"], 2):
            content = a_file(chance, depth=1)[1]
            entry = tarfile.TarInfo(name)
            if chance.random() < 0.2:
                entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
                content = b""
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return sink.getvalue()


FORMATS: dict[str, Make] = {
    ".jsonl": as_lines, ".json": as_json, ".squad.json": as_squad, ".csv": as_table, ".tsv": as_table, ".txt": as_text,
    ".md": as_text, ".parquet": as_parquet, ".arrow": as_arrow, ".po": as_catalogue, ".tmx": as_memory, ".yml": as_yaml,
    ".zip": as_zip, ".tar": as_tar, ".conll": as_columns,
}  # fmt: skip


# ----------------------------------------------------------------------------------------------- damage


def damaged(content: bytes, chance: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(chance.choice([0, 1, 1, 2, 5, 20])):
        at = chance.randint(0, len(data))
        match chance.randint(0, 5):
            case 0:
                data[at:at] = chance.choice(HOSTILE)
            case 1:
                del data[at : at + chance.randint(1, 200)]
            case 2:
                del data[at:]
            case 3 if data:
                data[min(at, len(data) - 1)] ^= 1 << chance.randint(0, 7)
            case 4:
                data[at:at] = data[at : at + chance.randint(1, 2000)] * chance.randint(1, 50)
            case 5:
                data[at:at] = chance.randbytes(chance.randint(1, 100))
    return bytes(data)


def a_file(chance: random.Random, depth: int = 0) -> tuple[str, bytes]:
    """The ending and the bytes of a file."""
    endings = [ending for ending in FORMATS if not depth or ending not in (".zip", ".tar")]
    ending = chance.choice(endings)
    content = damaged(FORMATS[ending](chance), chance)
    if chance.random() < 0.1:
        ending = chance.choice(["", ".dat", *FORMATS])
    if chance.random() < 0.1:
        content, ending = damaged(gzip.compress(content), chance), ending + ".gz"
    return ending, content


# ------------------------------------------------------------------------------------------- in the child


def run_cases(seed: int, until: float, place: Path, say: Callable[[dict[str, Any]], None]) -> None:
    """Import one file after the other until the time is over; tells of each what came of it."""
    from engine.home import Home

    inside = place / "inside"
    inside.mkdir(parents=True, exist_ok=True)
    number = seed
    while time.time() < until:
        chance = random.Random(number)
        ending, content = a_file(chance)
        path = inside / f"case{ending}"
        path.write_bytes(content)
        say({"case": number, "ending": ending})
        begun = time.monotonic()
        try:
            outcome = _one_case(path, Home(inside / f"home-{number}").create(), chance)
        except Exception:  # noqa: BLE001 - that is what is looked for
            outcome = "crash"
            say({"crash": number, "ending": ending, "detail": traceback.format_exc()})
        strays = sorted(entry.name for entry in place.iterdir() if entry.name != "inside")
        if strays:
            say({"crash": number, "ending": ending, "detail": f"outside of the home: {strays}"})
        say({"done": number, "outcome": outcome, "seconds": time.monotonic() - begun})
        path.unlink()
        number += 1


def _one_case(path: Path, home: Any, chance: random.Random) -> str:
    import shutil

    from engine.data.issue_fixes import IssueDesk
    from engine.data.library import DataLibrary
    from engine.errors import TunebenchError

    library = DataLibrary(home)
    outcome = "rows"
    try:
        if chance.random() < 0.3:
            library.preview([path])
        info = library.import_files([path], "rows").info
        assert info.rows_read == info.rows_kept + info.num_issues, info
        assert len(list(IssueDesk(library).read("rows"))) == info.num_issues
        assert len(library.open("rows")) == info.rows_kept
        for example in library.open("rows").examples():
            assert example is not None
    except TunebenchError as refusal:
        outcome = refusal.code
        assert refusal.message
        refusal.message.encode()
        left = [entry.name for entry in home.data.iterdir() if entry.name not in (".lock", "rows")]
        assert not left, left
    finally:
        shutil.rmtree(home.root)
    return outcome


# -------------------------------------------------------------------------------------------- in the parent


class Watch:
    """Starts the child again and again until the time is over, and kills it when it takes too much."""

    def __init__(self, seconds: float, memory_mb: int, seed: int, keep: Path) -> None:
        self._until = time.time() + seconds
        self._limit = memory_mb << 20
        self._next_seed = seed
        self._keep = keep
        self.outcomes: Counter[str] = Counter()
        self.failures: list[dict[str, Any]] = []
        self.peak_bytes = 0
        self.slowest_s = 0.0

    def run(self) -> None:
        while time.time() < self._until:
            with tempfile.TemporaryDirectory(prefix="tunebench-fuzz-") as folder:
                self._one_child(Path(folder))

    def _one_child(self, folder: Path) -> None:
        place = folder / "place"
        log = folder / "log.jsonl"
        command = [
            sys.executable, "-m", "tests.fuzz_import", "--child", str(place), str(log), str(self._next_seed),
            str(self._until),
        ]  # fmt: skip
        with (folder / "errors").open("wb") as errors:
            child = subprocess.Popen(command, stderr=errors, stdout=errors)
        process = psutil.Process(child.pid)
        ending, changed_at, last = "", time.monotonic(), -1
        while child.poll() is None:
            time.sleep(0.05)
            try:
                used = process.memory_info().rss
            except psutil.NoSuchProcess:
                break
            self.peak_bytes = max(self.peak_bytes, used)
            size = log.stat().st_size if log.exists() else 0
            if size != last:
                changed_at, last = time.monotonic(), size
            if used > self._limit:
                ending = f"took {used >> 20} MB"
            elif time.monotonic() - changed_at > CASE_SECONDS:
                ending = f"took more than {CASE_SECONDS:g} s"
            if ending:
                child.kill()
        code = child.wait()
        if code and not ending:
            ending = f"ended with {code}: {(folder / 'errors').read_text(errors='replace')[-2000:]}"
        self._read(log, ending)

    def _read(self, log: Path, ending: str) -> None:
        entries = (
            [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
            if log.exists()
            else []
        )
        current: dict[str, Any] = {"case": self._next_seed, "ending": ""}
        for entry in entries:
            if "case" in entry:
                current = entry
            elif "crash" in entry:
                self._failed(entry["crash"], entry["ending"], entry["detail"])
            else:
                self.outcomes[entry["outcome"]] += 1
                self.slowest_s = max(self.slowest_s, entry["seconds"])
        if ending:
            self._failed(current["case"], current["ending"], ending)
        self._next_seed = current["case"] + 1

    def _failed(self, case: int, ending: str, detail: str) -> None:
        self.failures.append({"case": case, "ending": ending, "detail": detail})
        self._keep.mkdir(parents=True, exist_ok=True)
        (self._keep / f"{case}{ending}").write_bytes(a_file(random.Random(case))[1])


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--child"]:
        place, log, seed, until = arguments[1:]
        with Path(log).open("a", encoding="utf-8") as file:

            def say(entry: dict[str, Any]) -> None:
                file.write(json.dumps(entry) + "\n")
                file.flush()

            run_cases(int(seed), float(until), Path(place), say)
        return 0
    parser = argparse.ArgumentParser(prog="tests.fuzz_import")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--memory-mb", type=int, default=1500)
    parser.add_argument(
        "--seed", type=int, default=0, help="the first case; a case's number makes its file again"
    )
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "tunebench-fuzz-kept")
    options = parser.parse_args(arguments)
    watch = Watch(options.minutes * 60, options.memory_mb, options.seed, options.keep)
    watch.run()
    report = {
        "cases": sum(watch.outcomes.values()), "failures": len(watch.failures), "peak_mb": watch.peak_bytes >> 20,
        "slowest_s": round(watch.slowest_s, 2), "outcomes": dict(watch.outcomes.most_common()),
    }  # fmt: skip
    print(json.dumps(report, indent=1))
    for failure in watch.failures[:20]:
        print(json.dumps(failure, ensure_ascii=False))
    return 1 if watch.failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
