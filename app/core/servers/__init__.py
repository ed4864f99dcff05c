"""Real Postgres and Valkey for laptops and tests, without containers and without root's help.

Servers end with the program that started them, even when it is killed. `DATABASE_URL` and
`REDIS_URL` take their place where servers run elsewhere.
"""

from app.core.servers.postgres import PostgresServer
from app.core.servers.processes import ServerError
from app.core.servers.valkey import ValkeyServer

__all__ = ["PostgresServer", "ServerError", "ValkeyServer"]
