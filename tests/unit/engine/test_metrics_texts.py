"""Text figures equal sacrebleu's and rouge-score's; Chinese is cut into words."""

from __future__ import annotations

import json

import numpy as np
import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from engine.metrics import METRICS
from engine.metrics.bootstrap import rows_interval
from engine.metrics.text_generation import ROUGE, text_metrics, text_report
from engine.metrics.words import first_sentence, language_of_texts, words_of

pytestmark = pytest.mark.filterwarnings("error")

WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    ",",
    "dogs",
    "can't",
    "run",
    ".",
    "3.5",
    "New-York",
    "café",
    "Über",
]
english = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
CHINESE = ["我喜欢北京的天安门。", "他昨天去了上海，买了 3 本书。", "今天天气很好"]
CHINESE_OUT = ["我很喜欢北京天安门。", "他昨天到上海买了书。", "今天的天气很好"]


@given(st.lists(st.tuples(english, english), min_size=1, max_size=6))
@settings(max_examples=50, deadline=None)
def test_figures_equal_sacrebleu_and_rouge_score(rows: list[tuple[str, str]]) -> None:
    said, wanted = (list(column) for column in zip(*rows, strict=True))
    found = text_metrics(said, wanted, "en")
    bleu = sacrebleu.corpus_bleu(said, [wanted])
    assert found["bleu"] == pytest.approx(bleu.score, abs=1e-12)
    assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(said, [wanted]).score, abs=1e-12)
    scorer = RougeScorer(list(ROUGE))
    for name in ROUGE:
        expected = np.mean([scorer.score(target, text)[name].fmeasure for text, target in rows])
        assert found[name] == pytest.approx(expected, abs=1e-12)
    assert found.get("length_ratio") == (pytest.approx(bleu.sys_len / bleu.ref_len) if bleu.ref_len else None)
    assert found["exact_match"] == np.mean([text == target for text, target in rows])


def test_several_references_may_be_of_different_number() -> None:
    said = ["the cat sat", "a dog ran"]
    wanted = [["the cat sat down", "a cat sat"], ["the dog ran"]]
    found = text_metrics(said, wanted, "en")
    columns = [["the cat sat down", "the dog ran"], ["a cat sat", None]]
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(said, columns).score)
    assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(said, columns).score)
    scorer = RougeScorer(["rouge1"])
    best = [
        scorer.score_multi(targets, text)["rouge1"].fmeasure
        for text, targets in zip(said, wanted, strict=True)
    ]
    assert found["rouge1"] == pytest.approx(np.mean(best))


def test_chinese_is_cut_by_sacrebleu_for_bleu_and_into_words_for_rouge() -> None:
    found = text_metrics(CHINESE_OUT, CHINESE)
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(CHINESE_OUT, [CHINESE], tokenize="zh").score)
    assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(CHINESE_OUT, [CHINESE]).score)
    assert words_of(CHINESE[0], "zh") == ["我", "喜欢", "北京", "的", "天安门"]
    assert words_of(CHINESE_OUT[0], "zh") == ["我", "很", "喜欢", "北京", "天安门"]
    one = text_metrics(CHINESE_OUT[:1], CHINESE[:1])
    assert one["rouge1"] == pytest.approx(0.8)  # 我 喜欢 北京 天安门, of five and of five
    assert one["rouge2"] == pytest.approx(0.25)  # 喜欢 北京
    assert one["rougeL"] == pytest.approx(0.8)


def test_other_alphabets_count_their_own_words() -> None:
    found = text_metrics(["кошка спит дома"], ["кошка спит тут"], "ru")
    assert found["rouge1"] == pytest.approx(2 / 3)
    assert text_metrics(["Straße über"], ["Straße unter"], "de")["rouge1"] == pytest.approx(0.5)
    japanese = text_metrics(["猫が寝る"], ["猫が鳴く"], "ja")
    assert japanese["bleu"] == pytest.approx(
        sacrebleu.corpus_bleu(["猫が寝る"], [["猫が鳴く"]], tokenize="char").score
    )


def test_languages_are_told_for_a_whole_set() -> None:
    assert language_of_texts(["北京", "1998", "!"]) == "zh"
    assert language_of_texts(["hello 北京", "cat", "dog"]) == "en"
    assert language_of_texts(["猫が寝る"]) == "en"  # Japanese is not Chinese
    assert language_of_texts([]) == "en"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("It cost 3.5 dollars. Then more.", "It cost 3.5 dollars."),
        ("他说：“好！”然后走了。", "他说：“好！”"),
        ("今天下雨。明天晴。", "今天下雨。"),
        ("No end", "No end"),
        ("Title\nbody", "Title"),
        ("Really?! Yes.", "Really?!"),
        ("", ""),
    ],
)
def test_the_first_sentence(text: str, sentence: str) -> None:
    assert first_sentence(text) == sentence


def test_without_rows_or_words() -> None:
    assert text_metrics([], []) == {}
    assert text_report([], []).intervals == {}
    nothing = text_metrics([""], ["a b"])
    assert nothing == dict.fromkeys(
        ["bleu", "chrf", "rouge1", "rouge2", "rougeL", "length_ratio", "exact_match"], 0.0
    )
    assert "length_ratio" not in text_metrics(["a"], [""])
    with pytest.raises(ValueError, match="at least one reference"):
        text_metrics(["a"], [[]])


def test_blanks_do_not_count_in_an_exact_match() -> None:
    assert text_metrics([" a  b\n"], ["a b"])["exact_match"] == 1.0
    assert text_metrics(["a c"], [["a b", "a c"]])["exact_match"] == 1.0


def test_reports_are_json_with_a_score_for_each_row() -> None:
    report = text_report(CHINESE_OUT, CHINESE, num_resamples=20)
    assert len(json.loads(json.dumps(report.to_json(), allow_nan=False))["rows"]) == 3
    assert set(report.metrics) <= set(METRICS)
    assert set(report.intervals) == set(report.metrics)
    for row, (text, target) in zip(report.rows, zip(CHINESE_OUT, CHINESE, strict=True), strict=True):
        assert row.chrf == pytest.approx(sacrebleu.corpus_chrf([text], [[target]]).score)


def test_intervals_equal_those_of_figures_computed_anew_for_each_resample() -> None:
    generator = np.random.default_rng(0)
    wanted = [" ".join(generator.choice(WORDS, 12)) for _ in range(30)]
    said = [" ".join(word for word in text.split() if generator.random() < 0.85) for text in wanted]
    quick = text_report(said, wanted, "en").intervals
    for name in ("bleu", "chrf", "rougeL", "length_ratio"):

        def anew(rows: np.ndarray, name: str = name) -> float:
            return text_metrics([said[row] for row in rows], [wanted[row] for row in rows], "en")[name]

        slow = rows_interval(30, anew, num_resamples=80, seed=3)
        assert slow is not None
        width = slow.high - slow.low
        assert (quick[name].low, quick[name].high) == pytest.approx((slow.low, slow.high), abs=width / 3)
