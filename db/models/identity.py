"""Who is who: projects, organizations and their keys."""

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY

from db.models.base import digest, identifier, instant, label, metadata

# Joined by spaces: a check cannot look at the elements of an array one by one.
_ORIGINS = "array_to_string(array_append(allowed_origins, ''), ' ', '*')"
_ORIGIN = r"https?://([a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(:[1-9][0-9]{0,4})?"

projects = Table(
    "projects",
    metadata,
    identifier("id", primary_key=True),
    Column("slug", Text, nullable=False, unique=True),
    label("name", nullable=False),
    Column("status", Text, nullable=False, server_default="active"),
    instant("created_at"),
    instant("updated_at"),
    Column("allowed_origins", ARRAY(Text), nullable=False, server_default="{}"),
    CheckConstraint("status in ('active', 'archived')", name="status"),
    CheckConstraint(
        f"cardinality(allowed_origins) <= 50 and {_ORIGINS} ~ '^({_ORIGIN} )*$'",
        name="allowed_origins",
    ),
    schema="identity",
    comment="A tenant: one micro-app with its own catalog, keys and settings.",
)

organizations = Table(
    "organizations",
    metadata,
    identifier("id", primary_key=True),
    Column(
        "project_id",
        None,
        ForeignKey("identity.projects.id", ondelete="RESTRICT"),
        nullable=False,
    ),
    label("name", nullable=False),
    Column("kind", Text, nullable=False, server_default="team"),
    label("external_ref"),
    Column("status", Text, nullable=False, server_default="active"),
    instant("created_at"),
    instant("updated_at"),
    CheckConstraint("kind in ('personal', 'team')", name="kind"),
    CheckConstraint("status in ('active', 'suspended')", name="status"),
    Index(None, "project_id", "id"),
    Index(
        None,
        "project_id",
        "external_ref",
        unique=True,
        postgresql_where=text("external_ref is not null"),
    ),
    schema="identity",
    comment="Who pays: owns exactly one credit account, whose id is the organization's.",
)

api_keys = Table(
    "api_keys",
    metadata,
    identifier("id", primary_key=True),
    Column("kind", Text, nullable=False),
    Column(
        "project_id",
        None,
        ForeignKey("identity.projects.id", ondelete="RESTRICT"),
        nullable=False,
    ),
    Column(
        "organization_id",
        None,
        ForeignKey("identity.organizations.id", ondelete="RESTRICT"),
        nullable=True,
    ),
    label("name", nullable=False),
    label("prefix", nullable=False),
    label("last4", nullable=False),
    Column("secret_hash", digest("x").type, nullable=False, unique=True),
    Column("scopes", ARRAY(Text), nullable=False, server_default="{}"),
    instant("created_at"),
    instant("expires_at", nullable=True),
    instant("revoked_at", nullable=True),
    label("created_by"),
    CheckConstraint("kind in ('project', 'organization')", name="kind"),
    CheckConstraint("(kind = 'organization') = (organization_id is not null)", name="owner"),
    Index(None, "project_id"),
    Index(None, "organization_id", postgresql_where=text("organization_id is not null")),
    schema="identity",
    comment="Keys of back-ends and organizations: only a hash is kept, the secret is shown once.",
)
