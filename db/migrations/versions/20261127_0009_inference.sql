-- Calls of models: what was asked and under which terms, each attempt, and what came of it.

create schema inference;

-- What callers send. A changed shape is a new type, beside the old until it is gone.
create type inference.open_request as (
    idempotency_key text, fingerprint bytea,
    feature text, quality text, model text,
    prompt_tokens int, output_tokens int, choices int, first_tokens int,
    ttl_seconds int,
    end_customer_ref text, related_type text, related_id text, related_name text,
    trace_id text, actor credits.actor, metadata jsonb
);
create type inference.extend_request as (
    call_id uuid, tokens bigint, noted_tokens bigint, ttl_seconds int
);
create type inference.close_request as (
    call_id uuid, input_tokens bigint, cached_input_tokens bigint, output_tokens bigint,
    usage_estimated boolean, outcome text, status_code int, latency_ms int,
    occurred_at timestamptz
);
create type inference.give_back_request as (
    call_id uuid, error text, status_code int, latency_ms int
);
-- What functions hand each other: the plan of an organization, what it opens, and at what price.
create type catalog.held_plan as (
    project_id uuid, plan_key text, version int, is_active boolean
);
create type inference.access as (
    reason text, project_id uuid, plan_key text, plan_version int,
    feature text, quality text, model text, fallbacks text[],
    base_estimate bigint, multiplier_basis_points int, opened catalog.plan_features
);
create type inference.terms as (
    outcome text, facts jsonb, project_id uuid, plan_key text, plan_version int,
    quality text, model text, provider text, provider_model_id text, fallbacks text[],
    price_version int, credits_per_1k_tokens bigint,
    output_limit int, reserved_tokens bigint, amount bigint
);

ALTER TABLE catalog.plan_versions ADD COLUMN streams_stop BOOLEAN DEFAULT true NOT NULL;
ALTER TYPE catalog.plan_terms ADD ATTRIBUTE streams_stop boolean;

CREATE TABLE catalog.organization_plans (
    organization_id UUID NOT NULL,
    project_id UUID NOT NULL,
    plan_key TEXT NOT NULL,
    version INTEGER NOT NULL,
    is_active BOOLEAN DEFAULT true NOT NULL,
    changes INTEGER DEFAULT '1' NOT NULL,
    changed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT organization_plans_pkey PRIMARY KEY (organization_id),
    CONSTRAINT organization_plans_project_id_plan_key_version_fkey
        FOREIGN KEY(project_id, plan_key, version)
        REFERENCES catalog.plan_versions (project_id, plan_key, version) ON DELETE RESTRICT,
    CONSTRAINT organization_plans_changes_check CHECK (changes > 0),
    CONSTRAINT organization_plans_organization_id_fkey
        FOREIGN KEY(organization_id)
        REFERENCES identity.organizations (id) ON DELETE RESTRICT
);
CREATE INDEX organization_plans_project_id_plan_key_version_idx ON catalog.organization_plans (project_id, plan_key, version);
comment on table catalog.organization_plans is
    'The plan that an organization has; who has no row has the default plan.';

CREATE TABLE inference.calls (
    account_id UUID NOT NULL,
    id UUID NOT NULL,
    project_id UUID NOT NULL,
    idempotency_key TEXT NOT NULL,
    fingerprint BYTEA NOT NULL,
    feature TEXT NOT NULL,
    account_place BIGINT NOT NULL,
    feature_place BIGINT NOT NULL,
    quality TEXT,
    plan_key TEXT NOT NULL,
    plan_version INTEGER NOT NULL,
    is_stream BOOLEAN NOT NULL,
    attempt INTEGER DEFAULT '1' NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    provider_model_id TEXT NOT NULL,
    price_version INTEGER,
    credits_per_1k_tokens credits.microcredits,
    asked_at TIMESTAMP WITH TIME ZONE NOT NULL,
    fallbacks TEXT[] DEFAULT '{}' NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    choices INTEGER DEFAULT '1' NOT NULL,
    output_limit INTEGER NOT NULL,
    reserved_tokens BIGINT NOT NULL,
    noted_tokens BIGINT DEFAULT '0' NOT NULL,
    state TEXT NOT NULL,
    input_tokens BIGINT,
    cached_input_tokens BIGINT,
    output_tokens BIGINT,
    usage_estimated BOOLEAN,
    outcome TEXT,
    error TEXT,
    status_code INTEGER,
    latency_ms INTEGER,
    end_customer_ref TEXT,
    related_type TEXT,
    related_id TEXT,
    trace_id TEXT,
    actor_kind TEXT,
    actor_id TEXT,
    actor_label TEXT,
    opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
    leased_until TIMESTAMP WITH TIME ZONE NOT NULL,
    closed_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT calls_pkey PRIMARY KEY (account_id, id),
    CONSTRAINT calls_state_check CHECK (state in ('open', 'answered', 'settled', 'released')),
    CONSTRAINT calls_outcome_check CHECK (outcome in ('complete', 'length', 'credits', 'left', 'failed', 'abandoned')),
    CONSTRAINT calls_closed_at_check CHECK ((closed_at is null) = (state in ('open', 'answered'))),
    CONSTRAINT calls_not_negative_check CHECK (least(prompt_tokens, output_limit, reserved_tokens, noted_tokens) >= 0 and least(coalesce(input_tokens, 0), coalesce(cached_input_tokens, 0), coalesce(output_tokens, 0)) >= 0),
    CONSTRAINT calls_account_id_fkey
        FOREIGN KEY(account_id)
        REFERENCES identity.organizations (id) ON DELETE RESTRICT
);
CREATE INDEX calls_customer_idx ON inference.calls (account_id, feature, end_customer_ref, opened_at) WHERE end_customer_ref is not null;
CREATE INDEX calls_feature_idx ON inference.calls (account_id, feature, opened_at, feature_place);
CREATE UNIQUE INDEX calls_idempotency_key ON inference.calls (account_id, idempotency_key);
CREATE INDEX calls_leased_until_idx ON inference.calls (leased_until) WHERE state in ('open', 'answered');
CREATE INDEX calls_opened_at_idx ON inference.calls (account_id, opened_at, account_place);
comment on table inference.calls is
    'Calls of models: one row each, from the reservation to the charge.';

CREATE TABLE inference.attempts (
    account_id UUID NOT NULL,
    call_id UUID NOT NULL,
    attempt INTEGER NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    provider_model_id TEXT NOT NULL,
    price_version INTEGER,
    credits_per_1k_tokens credits.microcredits,
    asked_at TIMESTAMP WITH TIME ZONE NOT NULL,
    failed_at TIMESTAMP WITH TIME ZONE NOT NULL,
    error TEXT NOT NULL,
    status_code INTEGER,
    CONSTRAINT attempts_pkey PRIMARY KEY (account_id, call_id, attempt),
    CONSTRAINT attempts_account_id_call_id_fkey
        FOREIGN KEY(account_id, call_id)
        REFERENCES inference.calls (account_id, id) ON DELETE RESTRICT,
    CONSTRAINT attempts_attempt_check CHECK (attempt > 0)
);
comment on table inference.attempts is
    'Attempts that failed, of calls that were asked again or of another model.';
grant usage on schema inference to exchequer_app, exchequer_auditor;
grant select on all tables in schema inference to exchequer_app, exchequer_auditor;
grant select on catalog.organization_plans to exchequer_app, exchequer_auditor;
-- What failed is only ever added to.
revoke update, delete, truncate on inference.attempts from exchequer_owner;
