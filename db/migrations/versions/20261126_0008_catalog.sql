-- What a project sells: features, quality levels, models, and plans in versions.

create schema catalog;

-- What editors send. A changed shape is a new type, beside the old until it is gone.
create type catalog.feature_terms as (
    key text, kind text, name text, description text, category text, icon text,
    is_active boolean, base_estimate bigint
);
create type catalog.quality_terms as (
    key text, name text, rank int, multiplier_basis_points int, is_active boolean
);
create type catalog.model_terms as (
    key text, provider text, provider_model_id text, name text, tier text, capabilities text[],
    context_length int, max_output_tokens int, credits_per_1k_tokens bigint,
    is_available boolean, deprecated_at timestamptz, replacement_key text, rank int
);
create type catalog.price_terms as (
    input_nanodollars bigint, cached_input_nanodollars bigint, output_nanodollars bigint,
    source text
);
create type catalog.plan_terms as (
    key text, kind text, name text, rank int, monthly_credits bigint, description text,
    welcome_credits bigint, rollover_cap bigint,
    requests_per_minute int, tokens_per_minute int, credits_per_day bigint,
    includes_plan_key text
);
create type catalog.plan_feature_terms as (
    feature_key text, is_enabled boolean, any_model boolean, limit_value int,
    per_minute int, per_hour int, per_day int, per_customer_day int
);
create type catalog.plan_level_terms as (
    feature_key text, quality_key text, model_keys text[]
);

CREATE TABLE catalog.features (
    project_id UUID NOT NULL,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    category TEXT,
    icon TEXT,
    is_active BOOLEAN DEFAULT true NOT NULL,
    base_estimate credits.microcredits,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT features_pkey PRIMARY KEY (project_id, key),
    CONSTRAINT features_key_check CHECK (key ~ '^[a-z][a-z0-9_]{0,62}$'),
    CONSTRAINT features_kind_check CHECK (kind in ('ai', 'boolean', 'limit', 'metered')),
    CONSTRAINT features_base_estimate_check CHECK (base_estimate >= 0),
    CONSTRAINT features_project_id_fkey
        FOREIGN KEY(project_id)
        REFERENCES identity.projects (id) ON DELETE RESTRICT
);
comment on table catalog.features is
    'What a plan can open: AI features, switches, limits and meters.';

CREATE TABLE catalog.models (
    project_id UUID NOT NULL,
    key TEXT NOT NULL,
    provider TEXT NOT NULL,
    provider_model_id TEXT NOT NULL,
    name TEXT NOT NULL,
    tier TEXT NOT NULL,
    capabilities TEXT[] DEFAULT '{}' NOT NULL,
    context_length INTEGER NOT NULL,
    max_output_tokens INTEGER NOT NULL,
    credits_per_1k_tokens credits.microcredits,
    is_available BOOLEAN DEFAULT true NOT NULL,
    deprecated_at TIMESTAMP WITH TIME ZONE,
    replacement_key TEXT,
    rank INTEGER DEFAULT '0' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT models_pkey PRIMARY KEY (project_id, key),
    CONSTRAINT models_project_id_replacement_key_fkey
        FOREIGN KEY(project_id, replacement_key)
        REFERENCES catalog.models (project_id, key) ON DELETE RESTRICT,
    CONSTRAINT models_key_check CHECK (key ~ '^[a-z0-9][a-z0-9_.:/-]{0,126}$'),
    CONSTRAINT models_tier_check CHECK (tier in ('fast', 'balanced', 'powerful')),
    CONSTRAINT models_capabilities_check CHECK (capabilities <@ array['text', 'vision', 'function_calling', 'code', 'long_context']),
    CONSTRAINT models_lengths_check CHECK (context_length > 0 and max_output_tokens > 0),
    CONSTRAINT models_credits_per_1k_tokens_check CHECK (credits_per_1k_tokens > 0),
    CONSTRAINT models_replacement_key_check CHECK (replacement_key <> key),
    CONSTRAINT models_project_id_fkey
        FOREIGN KEY(project_id)
        REFERENCES identity.projects (id) ON DELETE RESTRICT
);
CREATE INDEX models_project_id_replacement_key_idx ON catalog.models (project_id, replacement_key) WHERE replacement_key is not null;
comment on table catalog.models is
    'Models that may answer, and what stands in for those that are gone.';

CREATE TABLE catalog.plans (
    project_id UUID NOT NULL,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    rank INTEGER NOT NULL,
    archived_at TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT plans_pkey PRIMARY KEY (project_id, key),
    CONSTRAINT plans_key_check CHECK (key ~ '^[a-z][a-z0-9_]{0,62}$'),
    CONSTRAINT plans_kind_check CHECK (kind in ('recurring', 'one_time', 'add_on')),
    CONSTRAINT plans_project_id_fkey
        FOREIGN KEY(project_id)
        REFERENCES identity.projects (id) ON DELETE RESTRICT
);
comment on table catalog.plans is
    'What a project sells; what is in it stands with its versions: the last counts.';

CREATE TABLE catalog.quality_levels (
    project_id UUID NOT NULL,
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    rank INTEGER NOT NULL,
    multiplier_basis_points INTEGER NOT NULL,
    is_active BOOLEAN DEFAULT true NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT quality_levels_pkey PRIMARY KEY (project_id, key),
    CONSTRAINT quality_levels_key_check CHECK (key ~ '^[a-z][a-z0-9_]{0,62}$'),
    CONSTRAINT quality_levels_multiplier_check CHECK (multiplier_basis_points between 1 and 10000000),
    CONSTRAINT quality_levels_project_id_fkey
        FOREIGN KEY(project_id)
        REFERENCES identity.projects (id) ON DELETE RESTRICT
);
comment on table catalog.quality_levels is
    'How good an answer is to be; a level multiplies what a feature is estimated at.';

CREATE TABLE catalog.model_prices (
    project_id UUID NOT NULL,
    model_key TEXT NOT NULL,
    version INTEGER NOT NULL,
    input_nanodollars BIGINT NOT NULL,
    cached_input_nanodollars BIGINT NOT NULL,
    output_nanodollars BIGINT NOT NULL,
    source TEXT NOT NULL,
    effective_from TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT model_prices_pkey PRIMARY KEY (project_id, model_key, version),
    CONSTRAINT model_prices_project_id_model_key_fkey
        FOREIGN KEY(project_id, model_key)
        REFERENCES catalog.models (project_id, key) ON DELETE RESTRICT,
    CONSTRAINT model_prices_version_check CHECK (version > 0),
    CONSTRAINT model_prices_not_negative_check CHECK (least(input_nanodollars, cached_input_nanodollars, output_nanodollars) >= 0)
);
comment on table catalog.model_prices is
    'What a provider takes for a million tokens, since when; only ever added to.';

CREATE TABLE catalog.plan_versions (
    project_id UUID NOT NULL,
    plan_key TEXT NOT NULL,
    version INTEGER NOT NULL,
    monthly_credits credits.microcredits NOT NULL,
    welcome_credits credits.microcredits DEFAULT '0' NOT NULL,
    rollover_cap credits.microcredits DEFAULT '0' NOT NULL,
    requests_per_minute INTEGER,
    tokens_per_minute INTEGER,
    credits_per_day credits.microcredits,
    includes_plan_key TEXT,
    includes_version INTEGER,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT plan_versions_pkey PRIMARY KEY (project_id, plan_key, version),
    CONSTRAINT plan_versions_project_id_plan_key_fkey
        FOREIGN KEY(project_id, plan_key)
        REFERENCES catalog.plans (project_id, key) ON DELETE RESTRICT,
    CONSTRAINT plan_versions_project_id_includes_plan_key_includes_ver_8a12
        FOREIGN KEY(project_id, includes_plan_key, includes_version)
        REFERENCES catalog.plan_versions (project_id, plan_key, version) ON DELETE RESTRICT,
    CONSTRAINT plan_versions_version_check CHECK (version > 0),
    CONSTRAINT plan_versions_monthly_credits_check CHECK (monthly_credits >= -1),
    CONSTRAINT plan_versions_not_negative_check CHECK (least(welcome_credits, rollover_cap, coalesce(credits_per_day, 0), coalesce(requests_per_minute, 0), coalesce(tokens_per_minute, 0)) >= 0),
    CONSTRAINT plan_versions_includes_check CHECK ((includes_plan_key is null) = (includes_version is null) and includes_plan_key <> plan_key)
);
CREATE INDEX plan_versions_project_id_includes_plan_key_includes_version_idx ON catalog.plan_versions (project_id, includes_plan_key, includes_version) WHERE includes_plan_key is not null;
comment on table catalog.plan_versions is
    'What was sold under a plan''s name: never changed, a change is a new version.';

CREATE TABLE catalog.settings (
    project_id UUID NOT NULL,
    default_plan_key TEXT,
    catalog_version BIGINT DEFAULT '0' NOT NULL,
    changed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT settings_pkey PRIMARY KEY (project_id),
    CONSTRAINT settings_project_id_default_plan_key_fkey
        FOREIGN KEY(project_id, default_plan_key)
        REFERENCES catalog.plans (project_id, key) ON DELETE RESTRICT,
    CONSTRAINT settings_catalog_version_check CHECK (catalog_version >= 0),
    CONSTRAINT settings_project_id_fkey
        FOREIGN KEY(project_id)
        REFERENCES identity.projects (id) ON DELETE RESTRICT
);
CREATE INDEX settings_project_id_default_plan_key_idx ON catalog.settings (project_id, default_plan_key);
comment on table catalog.settings is
    'One row a project: its version goes up with every edit of the catalog.';

CREATE TABLE catalog.plan_features (
    project_id UUID NOT NULL,
    plan_key TEXT NOT NULL,
    version INTEGER NOT NULL,
    feature_key TEXT NOT NULL,
    is_enabled BOOLEAN DEFAULT 'true' NOT NULL,
    any_model BOOLEAN DEFAULT 'false' NOT NULL,
    limit_value INTEGER,
    per_minute INTEGER,
    per_hour INTEGER,
    per_day INTEGER,
    per_customer_day INTEGER,
    CONSTRAINT plan_features_pkey PRIMARY KEY (project_id, plan_key, version, feature_key),
    CONSTRAINT plan_features_project_id_plan_key_version_fkey
        FOREIGN KEY(project_id, plan_key, version)
        REFERENCES catalog.plan_versions (project_id, plan_key, version) ON DELETE RESTRICT,
    CONSTRAINT plan_features_project_id_feature_key_fkey
        FOREIGN KEY(project_id, feature_key)
        REFERENCES catalog.features (project_id, key) ON DELETE RESTRICT,
    CONSTRAINT plan_features_not_negative_check CHECK (least(coalesce(limit_value, 0), coalesce(per_minute, 0), coalesce(per_hour, 0), coalesce(per_day, 0), coalesce(per_customer_day, 0)) >= 0)
);
CREATE INDEX plan_features_project_id_feature_key_idx ON catalog.plan_features (project_id, feature_key);
comment on table catalog.plan_features is
    'A feature that a plan opens, and how often: null is no limit, 0 blocks.';

CREATE TABLE catalog.plan_quality_levels (
    project_id UUID NOT NULL,
    plan_key TEXT NOT NULL,
    version INTEGER NOT NULL,
    feature_key TEXT NOT NULL,
    quality_key TEXT NOT NULL,
    CONSTRAINT plan_quality_levels_pkey PRIMARY KEY (project_id, plan_key, version, feature_key, quality_key),
    CONSTRAINT plan_quality_levels_project_id_plan_key_version_feature_1fa8
        FOREIGN KEY(project_id, plan_key, version, feature_key)
        REFERENCES catalog.plan_features (project_id, plan_key, version, feature_key) ON DELETE RESTRICT,
    CONSTRAINT plan_quality_levels_project_id_quality_key_fkey
        FOREIGN KEY(project_id, quality_key)
        REFERENCES catalog.quality_levels (project_id, key) ON DELETE RESTRICT
);
CREATE INDEX plan_quality_levels_project_id_quality_key_idx ON catalog.plan_quality_levels (project_id, quality_key);
comment on table catalog.plan_quality_levels is
    'A level at which a plan''s feature may answer.';

CREATE TABLE catalog.plan_models (
    project_id UUID NOT NULL,
    plan_key TEXT NOT NULL,
    version INTEGER NOT NULL,
    feature_key TEXT NOT NULL,
    quality_key TEXT NOT NULL,
    model_key TEXT NOT NULL,
    priority INTEGER NOT NULL,
    is_default BOOLEAN DEFAULT 'false' NOT NULL,
    CONSTRAINT plan_models_pkey PRIMARY KEY (project_id, plan_key, version, feature_key, quality_key, model_key),
    CONSTRAINT plan_models_project_id_plan_key_version_feature_key_qua_c63e
        FOREIGN KEY(project_id, plan_key, version, feature_key, quality_key)
        REFERENCES catalog.plan_quality_levels (project_id, plan_key, version, feature_key, quality_key) ON DELETE RESTRICT,
    CONSTRAINT plan_models_project_id_model_key_fkey
        FOREIGN KEY(project_id, model_key)
        REFERENCES catalog.models (project_id, key) ON DELETE RESTRICT,
    CONSTRAINT plan_models_priority_check CHECK (priority >= 0)
);
CREATE UNIQUE INDEX plan_models_default_key ON catalog.plan_models (project_id, plan_key, version, feature_key, quality_key) WHERE is_default;
CREATE UNIQUE INDEX plan_models_priority_key ON catalog.plan_models (project_id, plan_key, version, feature_key, quality_key, priority);
CREATE INDEX plan_models_project_id_model_key_idx ON catalog.plan_models (project_id, model_key);
comment on table catalog.plan_models is
    'A model that answers at a level, in the order in which they are tried.';

CREATE TABLE catalog.changes (
    project_id UUID NOT NULL,
    catalog_version BIGINT NOT NULL,
    changed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    subject TEXT NOT NULL,
    key TEXT,
    actor_kind TEXT,
    actor_id TEXT,
    actor_label TEXT,
    before JSONB,
    after JSONB NOT NULL,
    CONSTRAINT changes_pkey PRIMARY KEY (project_id, catalog_version),
    CONSTRAINT changes_subject_check CHECK (subject in ('feature', 'quality_level', 'model', 'plan', 'default_plan')),
    CONSTRAINT changes_project_id_fkey
        FOREIGN KEY(project_id)
        REFERENCES identity.projects (id) ON DELETE RESTRICT
);
comment on table catalog.changes is
    'Who edited the catalog, and what: one row for each of its versions, never changed.';

grant usage on schema catalog to exchequer_app, exchequer_auditor;
grant select on all tables in schema catalog to exchequer_app, exchequer_auditor;

-- Prices, versions of plans and notes of edits are only ever added to, also by the owner: a
-- trigger says so too.
-- (Who refers to a row locks it, which takes the right to update: it stays on those referred to.)
revoke update on catalog.model_prices, catalog.plan_models, catalog.changes
    from exchequer_owner;
revoke delete, truncate on catalog.model_prices, catalog.plan_versions,
    catalog.changes, catalog.plan_features, catalog.plan_quality_levels, catalog.plan_models
    from exchequer_owner;

-- Projects that exist have a catalog too: an empty one, until it is seeded or edited.
insert into catalog.settings (project_id, changed_at)
select p.id, p.created_at from identity.projects as p;
