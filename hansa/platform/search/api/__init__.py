"""What others may use of search: the operations, by noun, their types, events and projections."""

from hansa.platform.search.api.collections import (
    Alias,
    Collection,
    CollectionForm,
    Target,
    get_collection,
    list_aliases,
    list_collections,
    purge,
    put_alias,
    put_collection,
    remove_alias,
    remove_collection,
)
from hansa.platform.search.api.curation import (
    StopWords,
    get_curation,
    put_curation,
    put_rule,
    put_stop_words,
    put_synonym,
    remove_rule,
    remove_synonym,
)
from hansa.platform.search.api.documents import (
    Deleted,
    Ids,
    Taken,
    Written,
    delete_document,
    delete_documents,
    get_document,
    list_documents,
    put_document,
    put_documents,
)
from hansa.platform.search.api.events import (
    CollectionChanged,
    DocumentsChanged,
    ProjectionWanted,
)
from hansa.platform.search.api.indexing import IndexState, Rebuilding, get_index, rebuild_index
from hansa.platform.search.api.keys import NewScopedKey, ScopedKey, bearer_of, make_scoped_key
from hansa.platform.search.api.learning import (
    Analytics,
    QueryCount,
    Use,
    get_analytics,
    record_use,
)
from hansa.platform.search.api.searching import (
    OneSearch,
    SeveralFound,
    SeveralSearches,
    Suggestions,
    search_by_address,
    search_collection,
    search_several,
    suggest,
)
from hansa.platform.search.curation import Boost, Curation, Pin, Rule, Synonym
from hansa.platform.search.projection import Projection
from hansa.platform.search.request import (
    FACETS_MAX,
    FILTER_LETTERS_MAX,
    Facet,
    Found,
    Hit,
    Range,
    SearchRequest,
)
from hansa.platform.search.schema import Field, Schema

__all__ = [
    "FACETS_MAX", "FILTER_LETTERS_MAX", "Alias", "Analytics", "Boost", "Collection",
    "CollectionChanged", "CollectionForm", "Curation", "Deleted", "DocumentsChanged", "Facet",
    "Field", "Found", "Hit", "Ids", "IndexState", "NewScopedKey", "OneSearch", "Pin",
    "Projection", "ProjectionWanted", "QueryCount", "Range", "Rebuilding", "Rule", "Schema",
    "ScopedKey", "SearchRequest", "SeveralFound", "SeveralSearches", "StopWords", "Suggestions",
    "Synonym", "Taken", "Target", "Use", "Written", "bearer_of", "delete_document",
    "delete_documents", "get_analytics", "get_collection", "get_curation", "get_document",
    "get_index", "list_aliases", "list_collections", "list_documents", "make_scoped_key",
    "purge", "put_alias", "put_collection", "put_curation", "put_document", "put_documents",
    "put_rule", "put_stop_words", "put_synonym", "rebuild_index", "record_use", "remove_alias",
    "remove_collection", "remove_rule", "remove_synonym", "search_by_address",
    "search_collection", "search_several", "suggest",
]  # fmt: skip
