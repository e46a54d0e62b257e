"""Environment variables (HOURGLASS_*) become one frozen Settings; command-line options win over them."""

from base64 import b64decode
from pathlib import Path

import platformdirs
from pydantic import AnyHttpUrl, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

USUAL_PORT = 8080


class Settings(BaseSettings):
    """What an installation may choose."""

    model_config = SettingsConfigDict(
        env_prefix="HOURGLASS_", frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    server: str = f"http://127.0.0.1:{USUAL_PORT}"  # where clients and workers find the service
    api_key: SecretStr | None = None  # what clients and workers show the server
    database_url: str | None = None  # default: a SQLite file in `home`
    home: Path = Path("hourglass-data")  # database and artifacts of the embedded service
    artifacts: str | None = None  # a folder or an fsspec URL (s3://bucket/prefix); default: `home`/artifacts
    data_dir: Path | None = None  # HOURGLASS_DATA_DIR: where workers find datasets
    worker_dir: Path = platformdirs.user_state_path("hourglass") / "results"  # where workers keep undelivered results
    fetch_datasets: bool = True  # whether a worker may download MNIST and its like
    lease_seconds: float = Field(default=60, gt=0)  # a lease lives so long without a heartbeat
    heartbeat_seconds: float = Field(default=15, gt=0)
    checkpoint_seconds: float = Field(default=60, gt=0)  # how often a worker sends the state of its trial
    max_attempts: int = Field(default=3, ge=1)  # leases that may expire before a trial is called poison
    min_free_bytes: int = Field(default=2**30, ge=0)  # below this, on the artifacts' disk, nothing is leased
    poll_seconds: float = Field(default=0.1, gt=0)  # how often the server and the scheduler look for news
    max_body_bytes: int = Field(default=4 * 2**20, ge=1)  # of a call with JSON
    max_upload_bytes: int = Field(default=2**30, ge=1)  # of a network or a checkpoint
    requests_per_minute: int = Field(
        default=30_000, ge=1
    )  # of one caller; 16 slots with trials of a second make about 5,000
    logins_per_minute: int = Field(default=10, ge=1)  # attempts of one address
    streams_per_caller: int = Field(default=20, ge=1)  # event streams at once: pages that somebody has open
    # how long a process waits for its database (`Patience` has the details); a transaction that had to wait longer is
    # answered with 503 and may be repeated
    database_pool_size: int = Field(default=20, ge=1)  # connections to PostgreSQL that one process holds at most
    database_pool_seconds: float = Field(default=10, gt=0)  # for one of these connections
    database_connect_seconds: float = Field(default=5, ge=1)  # for PostgreSQL to accept a new one
    database_lock_seconds: float = Field(default=10, gt=0)  # for what another transaction holds
    database_statement_seconds: float = Field(default=30, gt=0)  # for one statement on PostgreSQL
    database_idle_seconds: float = Field(
        default=30, gt=0
    )  # of a writing on PostgreSQL that does nothing: a frozen process's

    webhook_url: AnyHttpUrl | None = None  # told when a search is finished, has failed or was cancelled
    webhook_secret: SecretStr | None = Field(default=None, validate_default=True)  # signs it: 24 to 64 bytes as base64

    @field_validator("webhook_secret")
    @classmethod
    def _secret_can_sign(cls, secret: SecretStr | None, info: ValidationInfo) -> SecretStr | None:
        if secret is None:
            if info.data.get("webhook_url") is not None:
                raise ValueError("a webhook is signed, so its URL needs a secret; `openssl rand -base64 32` makes one")
            return None
        text = secret.get_secret_value().removeprefix("whsec_").rstrip("=")
        try:
            key = b64decode(text + "=" * (-len(text) % 4), validate=True)
        except ValueError:
            key = b""
        if not 24 <= len(key) <= 64:
            raise ValueError("must be 24 to 64 random bytes as base64; `openssl rand -base64 32` makes it")
        return secret

    @property
    def path_of_database(self) -> Path:
        """The file of the embedded database."""
        return (self.home / "hourglass.db").resolve()

    @property
    def url_of_database(self) -> str:
        """SQLAlchemy URL of the database."""
        return self.database_url or f"sqlite:///{self.path_of_database}"

    @property
    def url_of_artifacts(self) -> str:
        """Folder or fsspec URL of the artifact store."""
        return self.artifacts or str((self.home / "artifacts").resolve())
