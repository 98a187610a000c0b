"""Writes `minhash.json`: what the slow reference says of a few texts under a few parameters.

Run from the repository's root after a change of the contract: `python -m tests.golden.make_minhash`.
"""

from pathlib import Path

from tests.golden.make_features import TEXTS, lines
from tests.reference_minhash import signature

CONFIGS = [
    {"permutations": 16},
    {"permutations": 1, "shingle": 1},
    {"permutations": 9, "shingle": 8, "max_words": 5},
]


def main() -> None:
    """Write the golden file beside this script."""
    texts = [{"text": text} for text in TEXTS]
    cases = [{"config": config, "rows": [signature(text, **config) for text in TEXTS]} for config in CONFIGS]
    Path(__file__).with_name("minhash.json").write_text(
        f'{{"texts": {lines(texts)},\n"cases": {lines(cases)}}}\n', encoding="ascii"
    )


if __name__ == "__main__":
    main()
