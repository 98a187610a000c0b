"""Writes `features.json`: what the slow reference says of a few texts under a few configurations.

Run from the repository's root after a change of the contract: `python -m tests.golden.make_features`.
"""

import json
from pathlib import Path

from tests.reference_features import ReferenceFeaturizer, words

TEXTS = [
    "",
    "   \t\r\n",
    "!?.,;-",
    "word",
    "the cat saw the dog and the DOG saw The Cat",
    "snake_case __dunder__ 3.14 1e-9 user@example.com",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z",
    "Ünïcödé façade NAÏVE Straße",
    "e\u0301te\u0301 is not \u00e9t\u00e9",
    "İstanbul ISTANBUL ıi",
    "ΟΔΥΣΣΕΥΣ Οδυσσεύς",
    "Привет, МИР! Ёлка-ёлка",
    "שָׁלוֹם עולם",
    "مرحبا بِالعَالَم ٣٤",
    "नमस्ते दुनिया ज़िंदगी",
    "สวัสดีชาวโลก น้ำ",
    "안녕하세요 세계 한국어",
    "你好,世界。hello世界 漢字kanji〇々",
    "ひらがなカタカナ ラーメン ｶﾞﾗｽ か\u3099",
    "\U00020000\U0002a6d6 ext-B",
    "emoji \U0001f600\U0001f44d\U0001f3fd \u2764\ufe0f \U0001f468\u200d\U0001f469\u200d\U0001f467 end",
    "nul\x00bell\x07tab\tdel\x7f c1\x85\xa0nbsp zwj\u200dzwnj\u200crlm\u200f",
    "½ ² ① Ⅷ Ⓐ 𝔘𝔫𝔦 ﬁ ǅ",
    "x" * 300,
    "é" * 300,
    "short " + "LONG" * 100 + " tail",
    "exact16bytes1234 seventeenbytes123 8letters ninechars 123 1234",
    " ".join(f"w{i % 7}" for i in range(60)),
    "“curly quotes” – dashes — and… ellipsis",
    "𐐀𐐨 Deseret, ᏣᎳᎩ Cherokee, ႠႡ Georgian",
]

CONFIGS = [
    {},
    {"bits": 1, "ngram_max": 1, "weighting": "count"},
    {"bits": 10, "ngram_min": 1, "ngram_max": 3, "weighting": "count"},
    {"bits": 24, "ngram_min": 2, "ngram_max": 8, "weighting": "binary"},
    {"bits": 6, "ngram_min": 2, "ngram_max": 2},
    {"bits": 20, "max_words": 3},
]


def main() -> None:
    """Write the golden file beside this script."""
    cases = []
    for config in CONFIGS:
        rows = [ReferenceFeaturizer(**config).features(text) for text in TEXTS]
        cases.append({"config": config, "rows": [[list(row), list(row.values())] for row in rows]})
    texts = [{"text": text, "words": list(words(text))} for text in TEXTS]
    Path(__file__).with_name("features.json").write_text(
        f'{{"texts": {lines(texts)},\n"cases": {lines(cases)}}}\n', encoding="ascii"
    )


def lines(values: list[dict[str, object]]) -> str:
    """A JSON array with one value a line."""
    return "[\n" + ",\n".join(map(json.dumps, values)) + "\n]"


if __name__ == "__main__":
    main()
