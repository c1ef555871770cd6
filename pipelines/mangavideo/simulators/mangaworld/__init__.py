"""The services around the pipeline, simulated: catalogue, language model, speech, video host. All speak real HTTP on loopback."""

from .catalogue import Catalogue, Chapter, Manga, Page, manga
from .drawing import draw, paper
from .model import Model, completion
from .readaloud import ReadAloud, espeak, silence, tone
from .videohost import VideoHost, quota_exceeded
from .web import Answer, Request, Simulator

__all__ = [
    "Answer",
    "Catalogue",
    "Chapter",
    "Manga",
    "Model",
    "Page",
    "ReadAloud",
    "Request",
    "Simulator",
    "VideoHost",
    "completion",
    "draw",
    "espeak",
    "manga",
    "paper",
    "quota_exceeded",
    "silence",
    "tone",
]
