"""Calls of models: who may call, which model answers, what it costs, and the calls themselves."""

from app.inference.calls import ModelCalls
from app.inference.inference import Inference
from app.inference.rows import Access, CloseRequest, ExtendRequest, GiveBackRequest, OpenRequest

__all__ = [
    "Access",
    "CloseRequest",
    "ExtendRequest",
    "GiveBackRequest",
    "Inference",
    "ModelCalls",
    "OpenRequest",
]
