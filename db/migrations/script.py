"""Run SQL of several statements inside a migration."""

from typing import Any

from alembic import op
from sqlalchemy.util import await_only


def execute_script(sql: str) -> None:
    """Send a script whole; the driver's prepared statements take only one statement."""
    connection = op.get_bind()
    # The driver opens its transaction with the first ordinary statement.
    connection.exec_driver_sql("select 1")
    driver: Any = connection.connection.driver_connection
    await_only(driver.execute(sql))
