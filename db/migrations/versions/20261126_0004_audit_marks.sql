-- A mark for each account that an audit found clean: the next one goes on from there.

CREATE TABLE credits.audit_marks (
    account_id UUID NOT NULL,
    version BIGINT NOT NULL,
    account_hash BIGINT NOT NULL,
    clock_at TIMESTAMP WITH TIME ZONE NOT NULL,
    available credits.microcredits NOT NULL,
    reserved credits.microcredits NOT NULL,
    overage credits.microcredits NOT NULL,
    monthly credits.microcredits NOT NULL,
    bonus credits.microcredits NOT NULL,
    granted_total credits.microcredits NOT NULL,
    spent_total credits.microcredits NOT NULL,
    expired_total credits.microcredits NOT NULL,
    clawed_back_total credits.microcredits NOT NULL,
    spent_at_period_start credits.microcredits NOT NULL,
    period_start TIMESTAMP WITH TIME ZONE NOT NULL,
    monthly_expired credits.microcredits NOT NULL,
    plan_taken_back credits.microcredits NOT NULL,
    first_id UUID NOT NULL,
    reservation_ids UUID[] NOT NULL,
    grant_ids UUID[] NOT NULL,
    grants_remaining BIGINT[] NOT NULL,
    grants_forfeited BIGINT[] NOT NULL,
    marked_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT audit_marks_pkey PRIMARY KEY (account_id)
);
comment on table credits.audit_marks is
    'What the next audit of an account goes on from: written when one found nothing.';
grant select on credits.audit_marks to exchequer_app, exchequer_auditor;

-- Now they take marks instead of one account.
drop function if exists credits._audit_allowances(uuid);
drop function if exists credits._audit_balances(uuid);
drop function if exists credits._audit_draws(uuid);
drop function if exists credits._audit_grants(uuid);
drop function if exists credits._audit_ledger(uuid);
drop function if exists credits._audit_orphans(uuid);
drop function if exists credits._audit_reservations(uuid);
drop function if exists credits._audit_returns(uuid);
drop function if exists credits._audit_terms(uuid);
drop function if exists credits._audit_versions(uuid);
drop function if exists credits.settled_amounts(uuid);
