-- What settled calls used is kept for several accounts at once.

drop function if exists usage.record(uuid, usage.settled_call[]);
