"""SQLAlchemy tables: the read side and the source of the DDL.

Nothing here writes. Every table that holds credits, usage or events is written
by SQL functions alone (`db/functions`), and the role the application logs in
with has no right to do otherwise.
"""

from db.models import audits, catalog, core, credits, events, identity, inference, plans, usage
from db.models.base import metadata

__all__ = [
    "audits",
    "catalog",
    "core",
    "credits",
    "events",
    "identity",
    "inference",
    "metadata",
    "plans",
    "usage",
]
