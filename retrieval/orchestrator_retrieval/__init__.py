"""Retrieval: collections of documents in the database, searched by words and by meaning.

```python
async with Database.open(url) as database:
    collections = Collections(database, installed_embedder())
    await collections.create("default", "handbook")
    await collections.add("default", "handbook", [Document(name="refunds", text="A refund takes five days.")])
    async with open_retriever(settings, database) as retriever:
        result = await retriever.search("default", "handbook", "when do I get my money back?", k=5)
```

May import `orchestrator`, never `orchestrator_workflows` or `orchestrator_tools`. Importing it loads neither FAISS nor
ONNX Runtime nor NumPy.
"""

from orchestrator_retrieval.documents import Document, DocumentRefused, Skipped, python_reference, read_documents
from orchestrator_retrieval.embedder import Embedder, MiniLM, installed_embedder
from orchestrator_retrieval.fulltext import FULLTEXT_DDL, ensure_fulltext
from orchestrator_retrieval.retriever import CollectionRetriever, open_retriever
from orchestrator_retrieval.store import Added, Collections, CollectionSummary

__all__ = [
    "FULLTEXT_DDL",
    "Added",
    "CollectionRetriever",
    "CollectionSummary",
    "Collections",
    "Document",
    "DocumentRefused",
    "Embedder",
    "MiniLM",
    "Skipped",
    "ensure_fulltext",
    "installed_embedder",
    "open_retriever",
    "python_reference",
    "read_documents",
]
