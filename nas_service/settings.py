"""Environment variables (HOURGLASS_*) become one frozen Settings; command-line options win over them."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

USUAL_PORT = 8080


class Settings(BaseSettings):
    """What an installation may choose."""

    model_config = SettingsConfigDict(env_prefix="HOURGLASS_", frozen=True, extra="ignore", env_ignore_empty=True)

    server: str = f"http://127.0.0.1:{USUAL_PORT}"  # where clients and workers find the service
    api_key: SecretStr | None = None  # what clients and workers show the server
    database_url: str | None = None  # default: a SQLite file in `home`
    home: Path = Path("hourglass-data")  # database and artifacts of the embedded service
    artifacts: str | None = None  # a folder or an fsspec URL (s3://bucket/prefix); default: `home`/artifacts
    data_dir: Path | None = None  # HOURGLASS_DATA_DIR: where workers find datasets
    fetch_datasets: bool = True  # whether a worker may download MNIST and its like
    lease_seconds: float = Field(default=60, gt=0)  # a lease lives so long without a heartbeat
    heartbeat_seconds: float = Field(default=15, gt=0)
    checkpoint_seconds: float = Field(default=60, gt=0)  # how often a worker sends the state of its trial
    max_attempts: int = Field(default=3, ge=1)  # leases that may expire before a trial is called poison
    min_free_bytes: int = Field(default=2**30, ge=0)  # below this, on the artifacts' disk, nothing is leased
    poll_seconds: float = Field(default=0.1, gt=0)  # how often the server and the scheduler look for news
    # how long a process waits for its database (`Patience` has the details); a transaction that had to wait longer is
    # answered with 503 and may be repeated
    database_pool_size: int = Field(default=20, ge=1)  # connections to PostgreSQL that one process holds at most
    database_pool_seconds: float = Field(default=10, gt=0)  # for one of these connections
    database_connect_seconds: float = Field(default=5, ge=1)  # for PostgreSQL to accept a new one
    database_lock_seconds: float = Field(default=10, gt=0)  # for what another transaction holds
    database_statement_seconds: float = Field(default=30, gt=0)  # for one statement on PostgreSQL
    database_idle_seconds: float = Field(default=30, gt=0)  # of a transaction that does nothing, as a frozen process's

    @property
    def url_of_database(self) -> str:
        """SQLAlchemy URL of the database."""
        return self.database_url or f"sqlite:///{(self.home / 'hourglass.db').resolve()}"

    @property
    def url_of_artifacts(self) -> str:
        """Folder or fsspec URL of the artifact store."""
        return self.artifacts or str((self.home / "artifacts").resolve())
