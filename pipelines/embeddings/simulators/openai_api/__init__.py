"""A simulated OpenAI API: files, batches and embeddings, kept by their documented contract, failures included."""

from .model import embed
from .server import Behaviour, Fault, OpenAIApi, Refusal, Seen

__all__ = ["Behaviour", "Fault", "OpenAIApi", "Refusal", "Seen", "embed"]
