"""Where artifacts live: a local or shared folder, or S3. Knows no Ray and no catalog."""

from cluster.store.artifact_files import ArtifactFiles, StoredFiles
from cluster.store.errors import CorruptFile, StoreError, StoreFull, StoreUnreachable
from cluster.store.manifest import Manifest, StoredFile
from cluster.store.store import Store

__all__ = [
    "ArtifactFiles",
    "CorruptFile",
    "Manifest",
    "Store",
    "StoreError",
    "StoreFull",
    "StoreUnreachable",
    "StoredFile",
    "StoredFiles",
]
