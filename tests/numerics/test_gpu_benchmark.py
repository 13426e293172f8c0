"""The GPU benchmark on its stand-in: a tiny model on the processor goes the same way."""

from __future__ import annotations

from benchmarks.gpu import measure


def test_every_side_trains_the_same_rows() -> None:
    found = measure("cpu", ["tiny"], 32)
    assert [result["method"] for result in found["results"]] == ["lora", "full"]
    for result in found["results"]:
        assert set(result["tokens_per_second"]) == {"ours", "defaults", "expert"}
        assert all(speed > 0 for speed in result["tokens_per_second"].values())
        assert result["share_of_matrix_rate"] > 0
