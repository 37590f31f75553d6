"""The engine alone: what its bare calls cost for the same pages, in the index that Hansa made.

No typos, synonyms, rules or marks, no ties put in order, one field instead of three: what is left
is what nobody can save who asks this engine from Python for a page with how many were found, so how
many times another engine's queries there can be at most.
"""

import time

from tantivy import Occur, Query

from benchmarks.search.answers import PAGE, Answer
from benchmarks.search.corpus import FACETS, Collection
from benchmarks.search.hansa_index import HansaIndex, id_of
from hansa.platform.search.analysis import analyzer
from hansa.platform.search.engine.counting import Counter
from hansa.platform.search.engine.retrieval import Scored
from hansa.platform.search.engine.wording import BAG


class Bare:
    """Documents with all words, then with any; documents and counts as they come."""

    name = "bare"
    title = "its engine alone"
    build_s = 0.0

    def __init__(self, hansa: HansaIndex, collection: Collection) -> None:
        self._hansa = hansa
        self._analyzer = analyzer(collection.schema.locale)
        self._asked: dict[str, object] = {}
        if collection.has_facets:
            for place, facet in enumerate(FACETS):
                schema = hansa.index.snapshot.engine
                self._asked |= Counter(place, facet, collection.schema, schema).aggregations

    def search(self, q: str, limit: int, *, full: bool) -> Answer:
        """All words, then any."""
        snapshot = self._hansa.index.snapshot
        searcher, engine = snapshot.searcher, snapshot.engine
        said = self._analyzer.words(q)
        stops = self._analyzer.stops
        words = [
            Query.term_query(engine, BAG, self._analyzer.term(word), "freq")
            for word in [one for one in said if one not in stops] or said
        ]
        query = Query.boolean_query([(Occur.Must, word) for word in words])
        hits: list[Scored] = searcher.search(query, limit).hits
        if len(hits) < PAGE and len(words) > 1:
            query = Query.boolean_query([(Occur.Should, word) for word in words])
            first = {(at.segment_ord, at.doc) for _, at in hits}
            more = searcher.search(query, limit + len(hits)).hits
            hits += [hit for hit in more if (hit[1].segment_ord, hit[1].doc) not in first]
            del hits[limit:]
        bodies = [snapshot.body(at) for _, at in hits]
        answer = Answer([id_of(body).id for body in bodies], bodies)
        if full and self._asked:
            counted = searcher.aggregate(query, self._asked)
            answer.counts = [
                {str(bucket["key"]): bucket["doc_count"] for bucket in one["buckets"]}
                for one in counted.values()
                if "buckets" in one
            ]
        return answer

    def forget(self) -> None:
        """Have the index answer anew."""
        self._hansa.forget()

    def cpu_s(self) -> float:
        """Return this process's time."""
        return time.process_time()

    def megabytes(self) -> float:
        """Return the size of the folder."""
        return self._hansa.megabytes()

    def close(self) -> None:
        """Close nothing: the index is Hansa's."""
