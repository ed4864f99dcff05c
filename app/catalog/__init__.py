"""Catalog: what a project sells, and what it costs to make."""

from app.catalog.catalog import Catalog
from app.catalog.rows import CatalogSnapshot, Feature, Model, Plan, QualityLevel

__all__ = ["Catalog", "CatalogSnapshot", "Feature", "Model", "Plan", "QualityLevel"]
