"""Identity: projects, organizations, their keys, and who may do what."""

from app.identity.identity import Identity
from app.identity.viewer import Viewer, ViewerKind

__all__ = ["Identity", "Viewer", "ViewerKind"]
