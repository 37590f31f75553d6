"""Typos: how much of nDCG@10 is kept with one random edit in a word, and with the last word half
typed; and what tolerance costs queries without a mistake."""

import random
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean
from typing import Final

from benchmarks.search.answers import PAGE
from benchmarks.search.corpus import Collection
from benchmarks.search.hansa_index import HansaIndex
from hansa.platform.search.metrics import ndcg
from tests.platform.search.relevance import half_typed, with_typo

SEEDS: Final = range(1, 21)
"""One query more or less is two hundredths of what is kept with one of them."""
KEPT_AIM: Final = 0.93
HALF_AIM: Final = 0.58


def run(say: Callable[[str], None], folder: Path, collection: Collection) -> None:
    """Measure, and print the table."""
    engine = HansaIndex(folder / "index", collection)
    judged = {q: grades for q, grades in collection.judgements.items() if any(grades.values())}

    def worth(asked: dict[str, str], **options: bool) -> tuple[float, float]:
        """The mean nDCG@10 of queries typed as `asked`, and the CPU microseconds of each."""
        engine.forget()
        begun, found = time.process_time(), []
        for q, grades in judged.items():
            if q in asked:
                ids = engine.search(asked[q], PAGE, full=False, **options).ids
                found.append(ndcg(ids, grades) or 0.0)
        return mean(found), (time.process_time() - begun) / len(found) * 1e6

    same = {q: q for q in judged}
    clean, clean_us = worth(same)
    exact, exact_us = worth(same, typo=False)
    half, half_us = worth({q: half_typed(q) for q in judged}, prefix=True)
    say("| typed | nDCG@10 | of clean | aim | CPU us per query |")
    say("|---|--:|--:|--:|--:|")
    say(f"| as it was meant, typos not looked for | {exact:.3f} | | | {exact_us:.0f} |")
    say(f"| as it was meant | {clean:.3f} | {clean / exact:.1%} of the line above | 100 %"
        f" | {clean_us:.0f} |")  # fmt: skip
    kept, worths, times = list[float](), list[float](), list[float]()
    for seed in SEEDS:
        chance = random.Random(seed)
        typed = {q: wrong for q in judged if (wrong := with_typo(q, chance)) is not None}
        found, found_us = worth(typed)
        meant, _ = worth({q: q for q in typed})
        kept.append(found / meant)
        worths.append(found)
        times.append(found_us)
    say(f"| one edit in a word of 4 letters or more, {len(SEEDS)} seeds | {mean(worths):.3f}"
        f" | {mean(kept):.1%} ({min(kept):.1%} to {max(kept):.1%}) | {KEPT_AIM:.0%}"
        f" | {mean(times):.0f} |")  # fmt: skip
    say(f"| half of the last word | {half:.3f} | {half / clean:.1%} | {HALF_AIM} | {half_us:.0f} |")
    say("")
    engine.close()
