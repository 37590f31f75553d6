"""Index: the documents of one collection of a site, as the engine has them in a folder.

One thread writes; any thread searches what the last commit made visible.

The checkpoint is kept beside the engine's files and not as a document in it: documents that are
written again with each commit would count in every score. The engine numbers its operations, and a
commit keeps the number of its last one in the same atomic step. `state.json`, written before each
commit, says which checkpoint holds at the number so far and which one beyond it, so whichever of
the two the commit left behind is right. Where power failed, an older `state.json` gives an older
checkpoint, which is harmless, and an older commit than `state.json` knows is `IndexUnusable`.
"""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import tantivy

from hansa.platform.search.analysis import analyzer
from hansa.platform.search.curation import Curation
from hansa.platform.search.engine.layout import (
    ID,
    LAYOUT,
    PLAIN,
    RELEASE,
    STEMMED,
    Change,
    fingerprint,
    layout_of,
    order_of,
)
from hansa.platform.search.engine.searching import search, suggest
from hansa.platform.search.engine.snapshot import Snapshot, Words
from hansa.platform.search.filters import Filter
from hansa.platform.search.request import Found, SearchRequest
from hansa.platform.search.schema import Schema

WRITER_BYTES: Final = 15_000_000
"""The least that the engine takes for what waits to be committed."""
LARGE_BYTES: Final = 200_000_000
"""So much for a compaction or a large portion, which then is one segment: of real products 125,000
take less than 120 MB. Where documents are larger it is several, which are slower to search."""
COMPACT_MAX: Final = 100_000
"""Documents of an index that is compacted, at most: its writes wait for some 20 s."""
WORN_SEGMENTS: Final = 8
"""With so many more segments than it was made in, a larger index is worn."""
WORN_SHARE: Final = 0.2
"""And so it is with more of its documents deleted than this."""
SMALL: Final = 1_000
"""How many documents are compacted whenever an index comes to rest; it takes 0.2 s of them."""
BLOCK_BYTES: Final = 2_048
"""How much is unpacked to read one document. With the engine's 16 kB a page takes twice as long."""

_DAMAGES: Final = ("Data corrupted", "Failed to open file", "An IO error")
"""How the engine's errors begin that tell of damaged files."""
_STATE: Final = "state.json"
_META: Final = "meta.json"


class IndexUnusable(Exception):
    """The folder has no index that can be used: it is damaged, or was made for another schema or
    by another release. Delete it and make the index anew from the documents."""


class NotWritten(Exception):
    """Changes could not be written or committed, as where a disk is full. All since the last commit
    are lost: write them again, from `checkpoint` on."""


class _State(msgspec.Struct, forbid_unknown_fields=True):
    """What was made how, and which checkpoint holds up to `opstamp` and which one beyond."""

    layout: int
    engine: str
    schema: str
    opstamp: int = 0
    checkpoint: int = 0
    beyond: int = 0


class _Deletes(msgspec.Struct):
    num_deleted_docs: int


class _Segment(msgspec.Struct):
    max_doc: int
    deletes: _Deletes | None = None


class _Meta(msgspec.Struct):
    opstamp: int
    segments: list[_Segment]

    @property
    def deleted(self) -> int:
        """How many documents are deleted and still count in scores."""
        return sum(one.deletes.num_deleted_docs for one in self.segments if one.deletes)

    @property
    def written(self) -> int:
        """How many documents there are, with those that are deleted."""
        return sum(one.max_doc for one in self.segments)


class Index:
    """An open index: `checkpoint` is the last change that is in it."""

    def __init__(self, folder: Path, schema: Schema, engine: tantivy.Index, state: _State) -> None:
        self.folder = folder
        self.checkpoint = state.checkpoint
        self._engine = engine
        self._state = state
        self._layout = layout_of(schema)
        self._writing = threading.Lock()
        self._writer: tantivy.IndexWriter | None = None
        self._written = state.checkpoint
        words = analyzer(schema.locale)
        engine.register_tokenizer(STEMMED, words.stemmed)
        engine.register_tokenizer(PLAIN, words.plain)
        engine.config_reader("manual")
        self._words = Words(schema)
        self._snapshot = Snapshot(self._words, engine)

    @classmethod
    def open(cls, folder: Path, schema: Schema) -> "Index":
        """Open the index in a folder; make one where there is nothing. Raises IndexUnusable."""
        wanted = _State(LAYOUT, RELEASE, fingerprint(schema))
        try:
            kept = _read_state(folder)
            if kept is None:
                _make(folder, layout_of(schema).engine, wanted)
                kept = wanted
            if (kept.layout, kept.engine) != (wanted.layout, wanted.engine):
                raise IndexUnusable("it was made by another release")
            if kept.schema != wanted.schema:
                raise IndexUnusable("it was made for another schema")
            meta = _read_meta(folder)
            if meta.opstamp < kept.opstamp:
                raise IndexUnusable("its last commit is lost")
            if meta.opstamp > kept.opstamp:
                kept.opstamp, kept.checkpoint = meta.opstamp, kept.beyond
            return cls(folder, schema, tantivy.Index.open(str(folder)), kept)
        except BaseException as damage:
            if isinstance(damage, OSError | ValueError) or _is_panic(damage):
                raise IndexUnusable(f"it is damaged: {damage}") from damage
            raise

    @property
    def documents(self) -> int:
        """How many documents a search can find."""
        return self._snapshot.documents

    @property
    def snapshot(self) -> Snapshot:
        """What the last commit made visible."""
        return self._snapshot

    def write(self, changes: Sequence[Change], checkpoint: int) -> None:
        """Take changes in their order, of which `checkpoint` is the last; `commit` keeps them.
        Raises NotWritten."""
        with self._writing, self._lost_on_failure():
            writer = self._opened_writer()
            for change in changes:
                writer.delete_documents_by_term(ID, change.id)
                if change.body is not None:
                    order = order_of(change.id, change.popularity)
                    writer.add_document(self._layout.document(change.id, change.body, order))
            self._written = checkpoint

    def commit(self) -> None:
        """Make what was written durable, and visible to the next search. Raises NotWritten."""
        with self._writing, self._lost_on_failure():
            self._commit()

    def _commit(self) -> None:
        if self._writer is None:
            return
        state = self._state
        state.beyond = self._written
        _write_state(self.folder, state)
        state.opstamp = self._writer.commit()
        state.checkpoint = self.checkpoint = state.beyond
        self._show()

    @contextmanager
    def _lost_on_failure(self) -> Iterator[None]:
        """Take no more changes into a batch that lacks some."""
        try:
            yield
        except BaseException as failure:
            self._writer = None
            self._written = self.checkpoint
            if isinstance(failure, OSError | ValueError) or _is_panic(failure):
                raise NotWritten(str(failure)) from failure
            raise

    def _show(self) -> None:
        self._engine.reload()
        self._snapshot = Snapshot(self._words, self._engine)

    def rest(self) -> None:
        """Commit, and close the writer with its threads and memory.

        Scores go by how many documents have a word, and the engine counts deleted ones until it
        merges them away. So a small index is compacted, too: that is quick. Others wait for who
        comes to rest, so ask `compact` where a greater one is worn.
        """
        with self._writing, self._lost_on_failure():
            self._commit()
            self._close_writer()
            self._show()
            if self.documents <= SMALL and self.is_loose:
                self._compact()

    @property
    def is_loose(self) -> bool:
        """Whether `compact` would change anything."""
        meta = _read_meta(self.folder)
        return bool(meta.deleted) or len(meta.segments) > 1

    @property
    def segments(self) -> int:
        """How many segments a search goes through."""
        return self._snapshot.searcher.num_segments

    def is_worn(self, least: int = 0) -> bool:
        """Tell whether so much of it is deleted, or it is in so many more segments than the `least`
        that it could be in, that a large index should be made anew."""
        meta = _read_meta(self.folder)
        is_much_deleted = meta.deleted > meta.written * WORN_SHARE
        return is_much_deleted or len(meta.segments) > least + WORN_SEGMENTS

    def enlarge(self) -> None:
        """Have what is written from here on wait in memory, up to `LARGE_BYTES`, until the next
        commit makes one segment of it. Lasts until `rest` or `close`. Raises NotWritten."""
        with self._writing, self._lost_on_failure():
            self._commit()
            self._close_writer()
            self._writer = self._new_writer(LARGE_BYTES)

    def compact(self) -> None:
        """Write all documents anew, in one commit, and close the writer: scores depend on the
        documents alone then, and searches go through few segments. Takes some 0.2 s for each 1,000
        documents, in which searches go on and writes wait: so of more than `COMPACT_MAX` another
        index is made instead, where this one is worn."""
        with self._writing, self._lost_on_failure():
            self._commit()
            self._close_writer()
            self._show()
            self._compact()

    def _compact(self) -> None:
        snapshot = self._snapshot
        if not snapshot.documents:
            return
        writer = self._writer = self._engine.writer(LARGE_BYTES, 1)
        writer.delete_all_documents()
        for id, order, body in snapshot.everything():
            writer.add_document(self._layout.document(id, body, order))
        self._commit()
        self._close_writer()

    def search(
        self,
        request: SearchRequest,
        *,
        always: Filter | None = None,
        curation: Curation,
        learned: Mapping[str, float],
        snapshot: Snapshot | None = None,
    ) -> Found:
        """Return what a request finds, within `always`, in a `snapshot` of this index: a filter may
        be right for what was visible when it was read, and for nothing that came later. Without one
        it is the newest. Raises a Problem for what the schema does not allow, IndexUnusable where
        the index turns out to be damaged."""
        try:
            return search(snapshot or self._snapshot, request, always, curation, learned)
        except BaseException as failure:
            if _is_panic(failure) or str(failure).startswith(_DAMAGES):
                raise IndexUnusable(f"it is damaged: {failure}") from failure
            raise

    def learn_words(self) -> None:
        """Read which words there are, if nobody has yet: the first search with a typo would have to
        wait for it, 0.1 s for 20,000 documents. On a thread."""
        if not self._words.lexicons.ready:
            self._words.lexicons.of(self._snapshot.spoken, self._snapshot.serial)

    def suggest(self, q: str, limit: int) -> list[str]:
        """Return searches that begin as `q` does and find something, the likeliest first."""
        return suggest(self._snapshot, q, limit)

    def close(self) -> None:
        """Close it; what was written since the last commit is lost."""
        with self._writing:
            if self._writer is not None:
                self._writer.rollback()
            self._close_writer()

    def _opened_writer(self) -> tantivy.IndexWriter:
        if self._writer is None:
            self._writer = self._new_writer(WRITER_BYTES)
        return self._writer

    def _new_writer(self, most_bytes: int) -> tantivy.IndexWriter:
        writer = self._engine.writer(most_bytes, 1)
        # A writer gives its first operation the number of the last commit (tantivy 0.27). Were it a
        # deletion, a merge would take it for one that segments written by that commit have seen,
        # and the deleted document would come back. Nothing has this id.
        writer.delete_documents_by_term(ID, "")
        return writer

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.wait_merging_threads()
            self._writer = None


def _is_panic(failure: BaseException) -> bool:
    """Whether the engine gave up, as it may over bytes that it never wrote."""
    return type(failure).__module__ == "pyo3_runtime"


def _make(folder: Path, schema: tantivy.Schema, state: _State) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise IndexUnusable("it was not made whole")
    tantivy.Index(schema, path=str(folder))
    meta = folder / _META
    settings = msgspec.json.decode(meta.read_bytes())
    settings["index_settings"]["docstore_blocksize"] = BLOCK_BYTES
    meta.write_bytes(msgspec.json.encode(settings))
    _write_state(folder, state)


def _read_state(folder: Path) -> _State | None:
    try:
        return msgspec.json.decode((folder / _STATE).read_bytes(), type=_State)
    except FileNotFoundError:
        return None


def _write_state(folder: Path, state: _State) -> None:
    temporary = folder / f"{_STATE}.new"
    temporary.write_bytes(msgspec.json.encode(state))
    os.replace(temporary, folder / _STATE)


def _read_meta(folder: Path) -> _Meta:
    return msgspec.json.decode((folder / _META).read_bytes(), type=_Meta)
