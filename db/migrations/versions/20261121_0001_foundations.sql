-- The foundations: schemas, types and tables of core, identity, credits, usage, events.

create schema identity;
create schema credits;
create schema usage;
create schema events;

-- New functions would be executable by everyone; ours are granted one by one.
alter default privileges revoke execute on functions from public;

-- One unit everywhere: a millionth of a credit.
create domain credits.microcredits as bigint;

-- What clients send. A changed shape is a new type, beside the old until it is gone.
create type credits.actor as (kind text, id text, label text);
create type credits.subject as (
    feature text, quality text, model text, price_version text, end_customer_ref text,
    related_type text, related_id text, related_name text
);
create type credits.reserve_request as (
    idempotency_key text, amount bigint, ttl_seconds int,
    feature text, quality text, model text, price_version text, end_customer_ref text,
    related_type text, related_id text, related_name text,
    actor credits.actor, metadata jsonb
);
create type credits.extend_request as (
    reservation_id uuid, amount bigint, expires_at timestamptz
);
create type credits.settle_request as (
    reservation_id uuid, amount bigint, operation text, model text,
    input_tokens bigint, output_tokens bigint, usage_estimated boolean,
    cost_nanodollars bigint, latency_ms int, status_code int, trace_id text,
    occurred_at timestamptz, actor credits.actor, metadata jsonb
);
create type credits.release_request as (reservation_id uuid, reason text);
create type usage.settled_call as (
    reservation_id uuid, version bigint, operation text, feature text, quality text, model text,
    price_version text, input_tokens bigint, output_tokens bigint, usage_estimated boolean,
    cost_nanodollars bigint, credits bigint, status_code int, latency_ms int, trace_id text,
    end_customer_ref text, metadata jsonb, occurred_at timestamptz, recorded_at timestamptz
);

CREATE TABLE core.applied_functions (
    path TEXT NOT NULL,
    hash BYTEA NOT NULL,
    applied_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT applied_functions_pkey PRIMARY KEY (path)
);
comment on table core.applied_functions is
    'The hash of each function file as it was last applied.';

CREATE TABLE core.idempotency_keys (
    scope TEXT NOT NULL,
    key TEXT NOT NULL,
    request_hash BYTEA NOT NULL,
    response BYTEA,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (scope, key)
);
CREATE INDEX idempotency_keys_created_at_idx ON core.idempotency_keys (created_at);
comment on table core.idempotency_keys is
    'First responses of mutations that move no credits: valid 24 h, cleared after 48 h.';

CREATE TABLE events.outbox (
    account_id UUID NOT NULL,
    version BIGINT NOT NULL,
    type TEXT NOT NULL,
    payload JSONB,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    relayed_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT outbox_pkey PRIMARY KEY (account_id, version, type)
);
CREATE INDEX outbox_account_id_version_idx ON events.outbox (account_id, version) WHERE relayed_at is null;
comment on table events.outbox is
    'Events written in the transaction that caused them, relayed in account order.';

CREATE TABLE identity.projects (
    id UUID NOT NULL,
    slug TEXT NOT NULL,
    name TEXT NOT NULL,
    status TEXT DEFAULT 'active' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT projects_pkey PRIMARY KEY (id),
    CONSTRAINT projects_status_check CHECK (status in ('active', 'archived')),
    CONSTRAINT projects_slug_key UNIQUE (slug)
);
comment on table identity.projects is
    'A tenant: one micro-app with its own catalog, keys and settings.';

CREATE TABLE usage.records (
    account_id UUID NOT NULL,
    id UUID NOT NULL,
    reservation_id UUID,
    version BIGINT NOT NULL,
    kind TEXT DEFAULT 'llm' NOT NULL,
    operation TEXT,
    feature TEXT,
    quality TEXT,
    model TEXT,
    price_version TEXT,
    input_tokens BIGINT,
    output_tokens BIGINT,
    usage_estimated BOOLEAN DEFAULT 'false' NOT NULL,
    cost_nanodollars BIGINT,
    credits credits.microcredits DEFAULT '0' NOT NULL,
    status_code INTEGER,
    latency_ms INTEGER,
    trace_id TEXT,
    end_customer_ref TEXT,
    metadata JSONB,
    occurred_at TIMESTAMP WITH TIME ZONE NOT NULL,
    recorded_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT records_pkey PRIMARY KEY (account_id, id),
    CONSTRAINT records_not_negative_check CHECK (least(credits, coalesce(input_tokens, 0), coalesce(output_tokens, 0), coalesce(cost_nanodollars, 0), coalesce(latency_ms, 0)) >= 0)
);
comment on table usage.records is
    'One row for each settled call, written by the settle that charged it.';

CREATE TABLE credits.policies (
    project_id UUID NOT NULL,
    nanodollars_per_credit BIGINT DEFAULT '1000000' NOT NULL,
    increment credits.microcredits DEFAULT '250000' NOT NULL,
    minimum_charge credits.microcredits DEFAULT '250000' NOT NULL,
    settle_limit_factor INTEGER DEFAULT '100' NOT NULL,
    settle_limit_floor credits.microcredits DEFAULT '10000000000' NOT NULL,
    clawback_creates_overage BOOLEAN DEFAULT 'false' NOT NULL,
    period_grant credits.microcredits DEFAULT '0' NOT NULL,
    welcome_grant credits.microcredits DEFAULT '0' NOT NULL,
    rollover_cap credits.microcredits DEFAULT '0' NOT NULL,
    overdraft_limit credits.microcredits DEFAULT '0' NOT NULL,
    low_balance_percent SMALLINT DEFAULT '20' NOT NULL,
    CONSTRAINT policies_pkey PRIMARY KEY (project_id),
    CONSTRAINT policies_rounding_check CHECK (nanodollars_per_credit > 0 and increment > 0 and minimum_charge >= 0),
    CONSTRAINT policies_settle_limit_check CHECK (settle_limit_factor > 0 and settle_limit_floor >= 0),
    CONSTRAINT policies_defaults_check CHECK (period_grant >= -1 and welcome_grant >= 0 and rollover_cap >= 0 and overdraft_limit >= 0 and low_balance_percent between 10 and 50),
    CONSTRAINT policies_project_id_fkey FOREIGN KEY(project_id) REFERENCES identity.projects (id) ON DELETE RESTRICT
);
comment on table credits.policies is
    'The credit rules of a project, and the terms its new accounts begin with.';

CREATE TABLE identity.organizations (
    id UUID NOT NULL,
    project_id UUID NOT NULL,
    name TEXT NOT NULL,
    kind TEXT DEFAULT 'team' NOT NULL,
    external_ref TEXT,
    status TEXT DEFAULT 'active' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT organizations_pkey PRIMARY KEY (id),
    CONSTRAINT organizations_kind_check CHECK (kind in ('personal', 'team')),
    CONSTRAINT organizations_status_check CHECK (status in ('active', 'suspended')),
    CONSTRAINT organizations_project_id_fkey FOREIGN KEY(project_id) REFERENCES identity.projects (id) ON DELETE RESTRICT
);
CREATE UNIQUE INDEX organizations_project_id_external_ref_idx ON identity.organizations (project_id, external_ref) WHERE external_ref is not null;
CREATE INDEX organizations_project_id_id_idx ON identity.organizations (project_id, id);
comment on table identity.organizations is
    'Who pays: owns exactly one credit account, whose id is the organization''s.';

CREATE TABLE credits.accounts (
    account_id UUID NOT NULL,
    project_id UUID NOT NULL,
    available credits.microcredits DEFAULT '0' NOT NULL,
    reserved credits.microcredits DEFAULT '0' NOT NULL,
    overage credits.microcredits DEFAULT '0' NOT NULL,
    overdraft_limit credits.microcredits DEFAULT '0' NOT NULL,
    lapsed credits.microcredits DEFAULT '0' NOT NULL,
    monthly credits.microcredits DEFAULT '0' NOT NULL,
    bonus credits.microcredits DEFAULT '0' NOT NULL,
    granted_total credits.microcredits DEFAULT '0' NOT NULL,
    spent_total credits.microcredits DEFAULT '0' NOT NULL,
    expired_total credits.microcredits DEFAULT '0' NOT NULL,
    clawed_back_total credits.microcredits DEFAULT '0' NOT NULL,
    spent_at_period_start credits.microcredits DEFAULT '0' NOT NULL,
    period_start TIMESTAMP WITH TIME ZONE NOT NULL,
    period_end TIMESTAMP WITH TIME ZONE NOT NULL,
    anchor_day SMALLINT NOT NULL,
    period_grant credits.microcredits DEFAULT '0' NOT NULL,
    rollover_cap credits.microcredits DEFAULT '0' NOT NULL,
    pending_period_grant credits.microcredits,
    pending_rollover_cap credits.microcredits,
    pending_at TIMESTAMP WITH TIME ZONE,
    funded_until TIMESTAMP WITH TIME ZONE,
    next_due_at TIMESTAMP WITH TIME ZONE NOT NULL,
    low_balance_percent SMALLINT DEFAULT '20' NOT NULL,
    minimum_charge credits.microcredits DEFAULT '250000' NOT NULL,
    version BIGINT DEFAULT '0' NOT NULL,
    clock_at TIMESTAMP WITH TIME ZONE NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT accounts_pkey PRIMARY KEY (account_id),
    CONSTRAINT accounts_not_negative_check CHECK (least(available, reserved, overage, overdraft_limit, lapsed, monthly, bonus, granted_total, spent_total, expired_total, clawed_back_total, spent_at_period_start) >= 0),
    CONSTRAINT accounts_conservation_check CHECK (granted_total + overage = available + reserved + spent_total + expired_total + clawed_back_total),
    CONSTRAINT accounts_one_sided_check CHECK (available = 0 or overage = 0),
    CONSTRAINT accounts_funded_check CHECK (monthly + bonus + overage >= available + reserved),
    CONSTRAINT accounts_lapsed_check CHECK (lapsed <= monthly + bonus and lapsed <= reserved),
    CONSTRAINT accounts_period_check CHECK (period_start < period_end),
    CONSTRAINT accounts_anchor_check CHECK (anchor_day between 1 and 31),
    CONSTRAINT accounts_terms_check CHECK (period_grant >= -1 and rollover_cap >= 0 and low_balance_percent between 10 and 50 and minimum_charge >= 0),
    CONSTRAINT accounts_pending_change_check CHECK ((pending_at is null) = (pending_period_grant is null)),
    CONSTRAINT accounts_account_id_fkey FOREIGN KEY(account_id) REFERENCES identity.organizations (id) ON DELETE RESTRICT
)
 WITH (fillfactor = 50);
CREATE INDEX accounts_next_due_at_idx ON credits.accounts (next_due_at);
CREATE INDEX accounts_project_id_idx ON credits.accounts (project_id);
comment on table credits.accounts is
    'One row for each organization: what it has, what is reserved, what it owes.';

CREATE TABLE identity.api_keys (
    id UUID NOT NULL,
    kind TEXT NOT NULL,
    project_id UUID NOT NULL,
    organization_id UUID,
    name TEXT NOT NULL,
    prefix TEXT NOT NULL,
    last4 TEXT NOT NULL,
    secret_hash BYTEA NOT NULL,
    scopes TEXT[] DEFAULT '{}' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    revoked_at TIMESTAMP WITH TIME ZONE,
    created_by TEXT,
    CONSTRAINT api_keys_pkey PRIMARY KEY (id),
    CONSTRAINT api_keys_kind_check CHECK (kind in ('project', 'organization')),
    CONSTRAINT api_keys_owner_check CHECK ((kind = 'organization') = (organization_id is not null)),
    CONSTRAINT api_keys_project_id_fkey FOREIGN KEY(project_id) REFERENCES identity.projects (id) ON DELETE RESTRICT,
    CONSTRAINT api_keys_organization_id_fkey FOREIGN KEY(organization_id) REFERENCES identity.organizations (id) ON DELETE RESTRICT,
    CONSTRAINT api_keys_secret_hash_key UNIQUE (secret_hash)
);
CREATE INDEX api_keys_organization_id_idx ON identity.api_keys (organization_id) WHERE organization_id is not null;
CREATE INDEX api_keys_project_id_idx ON identity.api_keys (project_id);
comment on table identity.api_keys is
    'Keys of back-ends and organizations: only a hash is kept, the secret is shown once.';

CREATE TABLE credits.account_changes (
    account_id UUID NOT NULL,
    version BIGINT NOT NULL,
    operation TEXT NOT NULL,
    before JSONB,
    after JSONB,
    reason TEXT,
    idempotency_key TEXT,
    fingerprint BYTEA,
    actor_kind TEXT,
    actor_id TEXT,
    actor_label TEXT,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT account_changes_pkey PRIMARY KEY (account_id, version),
    CONSTRAINT account_changes_key_check CHECK ((idempotency_key is null) = (fingerprint is null)),
    CONSTRAINT account_changes_account_id_fkey FOREIGN KEY(account_id) REFERENCES credits.accounts (account_id) ON DELETE RESTRICT
);
CREATE UNIQUE INDEX account_changes_key_idx ON credits.account_changes (account_id, operation, idempotency_key) WHERE idempotency_key is not null;
comment on table credits.account_changes is
    'Changes of an account''s terms and periods: versions that moved no credits.';

CREATE TABLE credits.findings (
    account_id UUID NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    facts JSONB,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT findings_pkey PRIMARY KEY (account_id, kind, subject),
    CONSTRAINT findings_account_id_fkey FOREIGN KEY(account_id) REFERENCES credits.accounts (account_id) ON DELETE RESTRICT
);
comment on table credits.findings is
    'What was refused as absurd and wants a person''s eye.';

CREATE TABLE credits.grants (
    account_id UUID NOT NULL,
    id UUID NOT NULL,
    operation TEXT NOT NULL,
    source TEXT NOT NULL,
    category TEXT NOT NULL,
    pool TEXT NOT NULL,
    priority SMALLINT NOT NULL,
    amount credits.microcredits NOT NULL,
    remaining credits.microcredits NOT NULL,
    state TEXT NOT NULL,
    effective_at TIMESTAMP WITH TIME ZONE NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    version BIGINT,
    refund_of BIGINT,
    source_ref TEXT,
    reason TEXT,
    idempotency_key TEXT,
    fingerprint BYTEA,
    actor_kind TEXT,
    actor_id TEXT,
    actor_label TEXT,
    metadata JSONB,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT grants_pkey PRIMARY KEY (account_id, id),
    CONSTRAINT grants_amount_check CHECK (amount > 0 and remaining between 0 and amount),
    CONSTRAINT grants_source_check CHECK (source in ('plan_allocation', 'plan_change', 'rollover', 'top_up', 'promotional', 'referral', 'admin_adjustment', 'refund', 'reversal')),
    CONSTRAINT grants_category_check CHECK (category in ('paid', 'promotional')),
    CONSTRAINT grants_pool_check CHECK ((pool = 'monthly') = (source in ('plan_allocation', 'plan_change', 'rollover')) and pool in ('monthly', 'bonus')),
    CONSTRAINT grants_state_check CHECK (state in ('scheduled', 'live', 'lapsed', 'closed')),
    CONSTRAINT grants_closed_check CHECK (state <> 'closed' or remaining = 0),
    CONSTRAINT grants_activated_check CHECK ((state = 'scheduled') <= (version is null)),
    CONSTRAINT grants_expiry_check CHECK (expires_at > effective_at),
    CONSTRAINT grants_key_check CHECK ((idempotency_key is null) = (fingerprint is null)),
    CONSTRAINT grants_account_id_operation_idempotency_key_category_key UNIQUE (account_id, operation, idempotency_key, category),
    CONSTRAINT grants_account_id_fkey FOREIGN KEY(account_id) REFERENCES credits.accounts (account_id) ON DELETE RESTRICT
)
 WITH (fillfactor = 80);
CREATE INDEX grants_account_id_refund_of_idx ON credits.grants (account_id, refund_of) WHERE refund_of is not null;
CREATE INDEX grants_open_idx ON credits.grants (account_id) WHERE state <> 'closed';
comment on table credits.grants is
    'Credits given: drawn by priority, then earliest expiry, promotional before paid.';

CREATE TABLE credits.reservations (
    account_id UUID NOT NULL,
    id UUID NOT NULL,
    amount credits.microcredits NOT NULL,
    requested_amount credits.microcredits NOT NULL,
    requested_ttl_seconds INTEGER NOT NULL,
    status TEXT DEFAULT 'pending' NOT NULL,
    idempotency_key TEXT NOT NULL,
    fingerprint BYTEA NOT NULL,
    opened_at TIMESTAMP WITH TIME ZONE NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    closed_at TIMESTAMP WITH TIME ZONE,
    opened_version BIGINT NOT NULL,
    closed_version BIGINT,
    settled_version BIGINT,
    settled_amount credits.microcredits,
    release_reason TEXT,
    feature TEXT,
    quality TEXT,
    model TEXT,
    price_version TEXT,
    end_customer_ref TEXT,
    related_type TEXT,
    related_id TEXT,
    related_name TEXT,
    actor_kind TEXT,
    actor_id TEXT,
    actor_label TEXT,
    metadata JSONB,
    CONSTRAINT reservations_pkey PRIMARY KEY (account_id, id),
    CONSTRAINT reservations_amount_check CHECK (amount > 0 and requested_amount > 0),
    CONSTRAINT reservations_settled_amount_check CHECK (settled_amount >= 0),
    CONSTRAINT reservations_status_check CHECK (status in ('pending', 'settled', 'released', 'expired')),
    CONSTRAINT reservations_state_check CHECK ((status = 'pending') = (closed_version is null) and (status = 'settled') = (settled_version is not null) and (status = 'settled') = (settled_amount is not null) and (closed_version is null) = (closed_at is null)),
    CONSTRAINT reservations_account_id_idempotency_key_key UNIQUE (account_id, idempotency_key),
    CONSTRAINT reservations_account_id_fkey FOREIGN KEY(account_id) REFERENCES credits.accounts (account_id) ON DELETE RESTRICT
)
 WITH (fillfactor = 70);
CREATE INDEX reservations_pending_idx ON credits.reservations (account_id, expires_at) WHERE status = 'pending';
comment on table credits.reservations is
    'Credits set aside for work that is under way.';

CREATE TABLE credits.transactions (
    account_id UUID NOT NULL,
    version BIGINT NOT NULL,
    type TEXT NOT NULL,
    operation TEXT NOT NULL,
    amount credits.microcredits NOT NULL,
    available_after credits.microcredits NOT NULL,
    reserved_after credits.microcredits NOT NULL,
    overage_after credits.microcredits NOT NULL,
    reservation_id UUID,
    grant_id UUID,
    refund_of BIGINT,
    estimated credits.microcredits,
    drawn_grant_ids UUID[],
    drawn_amounts BIGINT[],
    idempotency_key TEXT,
    fingerprint BYTEA,
    reason TEXT,
    feature TEXT,
    quality TEXT,
    model TEXT,
    price_version TEXT,
    end_customer_ref TEXT,
    related_type TEXT,
    related_id TEXT,
    related_name TEXT,
    actor_kind TEXT,
    actor_id TEXT,
    actor_label TEXT,
    metadata JSONB,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT transactions_pkey PRIMARY KEY (account_id, version),
    CONSTRAINT transactions_type_check CHECK (type in ('plan_allocation', 'top_up', 'promotional', 'referral', 'admin_adjustment', 'plan_change', 'rollover', 'consumption', 'expiration', 'void', 'refund', 'reversal')),
    CONSTRAINT transactions_sign_check CHECK (case when type in ('consumption', 'expiration', 'void') then amount < 0 when type in ('admin_adjustment', 'plan_change', 'reversal') then amount <> 0 else amount > 0 end),
    CONSTRAINT transactions_not_negative_check CHECK (least(available_after, reserved_after, overage_after) >= 0),
    CONSTRAINT transactions_drawn_check CHECK (cardinality(drawn_grant_ids) is not distinct from cardinality(drawn_amounts)),
    CONSTRAINT transactions_key_check CHECK ((idempotency_key is null) = (fingerprint is null)),
    CONSTRAINT transactions_account_id_fkey FOREIGN KEY(account_id) REFERENCES credits.accounts (account_id) ON DELETE RESTRICT
);
CREATE UNIQUE INDEX transactions_key_idx ON credits.transactions (account_id, operation, idempotency_key) WHERE idempotency_key is not null;
comment on table credits.transactions is
    'The ledger: what was granted, spent, expired or taken back. Only ever added to.';

CREATE TABLE credits.grant_voids (
    account_id UUID NOT NULL,
    idempotency_key TEXT NOT NULL,
    grant_id UUID NOT NULL,
    fingerprint BYTEA NOT NULL,
    requested credits.microcredits NOT NULL,
    taken credits.microcredits NOT NULL,
    overage_added credits.microcredits NOT NULL,
    missing credits.microcredits NOT NULL,
    version BIGINT,
    reason TEXT,
    actor_kind TEXT,
    actor_id TEXT,
    actor_label TEXT,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT grant_voids_pkey PRIMARY KEY (account_id, idempotency_key),
    CONSTRAINT grant_voids_account_id_grant_id_fkey FOREIGN KEY(account_id, grant_id) REFERENCES credits.grants (account_id, id) ON DELETE RESTRICT,
    CONSTRAINT grant_voids_amounts_check CHECK (requested > 0 and least(taken, overage_added, missing) >= 0 and requested = taken + overage_added + missing),
    CONSTRAINT grant_voids_account_id_fkey FOREIGN KEY(account_id) REFERENCES credits.accounts (account_id) ON DELETE RESTRICT
);
CREATE INDEX grant_voids_account_id_grant_id_idx ON credits.grant_voids (account_id, grant_id);
comment on table credits.grant_voids is
    'Requests to take a grant back: what was taken, what became debt, what is missing.';

CREATE TABLE credits.reservation_extensions (
    account_id UUID NOT NULL,
    version BIGINT NOT NULL,
    reservation_id UUID NOT NULL,
    amount credits.microcredits NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT reservation_extensions_pkey PRIMARY KEY (account_id, version),
    CONSTRAINT reservation_extensions_account_id_reservation_id_fkey FOREIGN KEY(account_id, reservation_id) REFERENCES credits.reservations (account_id, id) ON DELETE RESTRICT
);
CREATE INDEX reservation_extensions_account_id_reservation_id_idx ON credits.reservation_extensions (account_id, reservation_id);
comment on table credits.reservation_extensions is
    'What a reservation was raised to, each time it was.';
-- The application reads and calls functions. It writes no table.
grant usage on schema core, identity, credits, usage, events
    to exchequer_app, exchequer_auditor;
grant select on all tables in schema core, identity, credits, usage, events
    to exchequer_app, exchequer_auditor;

-- Not even the owner of the ledger may change it: a trigger says so too.
revoke update, delete, truncate on credits.transactions, credits.account_changes
    from exchequer_owner;
