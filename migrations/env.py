"""Runs the migrations on the database that `nas_service.database.migrate` names."""

from alembic import context
from sqlalchemy import create_engine

from nas_service.database.tables import metadata

engine = create_engine(context.config.attributes["url"])
with engine.connect() as connection:
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET lock_timeout = '5s'")  # rather fail than queue behind a long transaction
        connection.commit()
    # SQLite cannot alter a column: Alembic copies the table instead ("batch").
    context.configure(
        connection=connection, target_metadata=metadata, render_as_batch=True, compare_server_default=True
    )
    with context.begin_transaction():
        context.run_migrations()
engine.dispose()
