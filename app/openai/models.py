"""Models of a project's catalog, as OpenAI lists them."""

from typing import Any

import orjson

from app.catalog import CatalogSnapshot, Model
from app.catalog.filters import ModelFilter, models_of


def models_told(catalog: CatalogSnapshot) -> bytes:
    """Return the models that can be asked."""
    models = models_of(catalog, ModelFilter(is_available=True))
    return orjson.dumps(
        {"object": "list", "data": [_told(model) for model in models if model.is_priced]}
    )


def model_told(catalog: CatalogSnapshot, key: str) -> bytes | None:
    """Return one of them, also one that is gone."""
    model = catalog.model_by_key.get(key)
    return None if model is None or not model.is_priced else orjson.dumps(_told(model))


def _told(model: Model) -> dict[str, Any]:
    return {
        "id": model.key,
        "object": "model",
        "created": 0,
        "owned_by": model.provider,
        "name": model.name,
        "capabilities": model.capabilities,
        "context_length": model.context_length,
        "max_output_tokens": model.max_output_tokens,
        "is_available": model.is_available,
        "replaced_by": model.replacement_key,
    }
