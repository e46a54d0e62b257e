"""The base of every frozen value: unknown fields are refused, nothing changes after it was made."""

from pydantic import BaseModel, ConfigDict


class Value(BaseModel):
    """A frozen, validated value that forbids unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
