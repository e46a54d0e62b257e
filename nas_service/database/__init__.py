"""The only place that knows SQL. Every query is named for the question it answers; domain values go in and come out.

Nothing here commits: the edge does (`Database.read` and `Database.write` open one transaction each).
"""

from sqlalchemy import Connection

from nas_service.database.engine import Database, Patience
from nas_service.database.errors import DatabaseAway, DatabaseBusy, DatabaseFull

__all__ = ["Connection", "Database", "DatabaseAway", "DatabaseBusy", "DatabaseFull", "Patience"]
