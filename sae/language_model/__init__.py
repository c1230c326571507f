"""Language models: convert them, find their hook points, run them up to a hook."""

from sae.language_model.convert import convert_model
from sae.language_model.errors import HookNotFound, ModelError
from sae.language_model.hooks import HookPoint, Kind
from sae.language_model.loading import load_tokenizer
from sae.language_model.malloc import keep_freed_memory
from sae.language_model.model import LanguageModel
from sae.language_model.unembedding import Unembedding

__all__ = [
    "HookNotFound",
    "HookPoint",
    "Kind",
    "LanguageModel",
    "ModelError",
    "Unembedding",
    "convert_model",
    "keep_freed_memory",
    "load_tokenizer",
]
