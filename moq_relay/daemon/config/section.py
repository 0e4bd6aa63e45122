"""What every table of the settings is."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of the file; it refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)
