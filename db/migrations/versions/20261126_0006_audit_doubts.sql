-- What an audit found is not forgotten by the next.

alter table credits.audit_marks add column doubted_at timestamp with time zone;
comment on column credits.audit_marks.doubted_at is
    'When an audit last found something in the account; null again once one finds nothing.';

-- Says now how many accounts it read. No release has called it.
drop function if exists credits.audit_and_mark(uuid, uuid, boolean);
