"""What can be imported: the endings that the file dialog offers, and examples for who has no file yet."""

from __future__ import annotations

# What the engine reads, by the endings of names; each may be compressed besides.
ENDINGS = (
    "jsonl", "ndjson", "json", "csv", "tsv", "tab", "txt", "md", "text", "parquet", "arrow", "feather", "xlsx",
    "xls", "ods", "po", "mo", "tmx", "yml", "yaml", "conll", "conllu", "conllx", "iob", "iob2", "bio",
    "zip", "tar", "tgz", "tar.bz2", "tbz2", "tar.xz", "txz",
    "gz", "zst",
)  # fmt: skip
SUFFIXES = " ".join(f"*.{ending}" for ending in ENDINGS)
EXAMPLES = (
    ("Prompt and completion", '{"prompt": "…", "completion": "…"}'),
    ("Instruction", '{"instruction": "…", "input": "…", "output": "…"}'),
    ("Chat", '{"messages": [{"role": "user", "content": "…"}, …]}'),
    ("Table", "question,answer"),
    ("Plain text", "one text a line, or a whole file"),
)
