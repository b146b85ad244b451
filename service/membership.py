"""What one of several serving processes knows of the others; the supervisor writes it, the process reads it."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Membership(BaseModel):
    """One of the processes that serve one port."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    """Its number, from 0."""
    count: int
    """Of the processes."""
    folder: Path
    """Where each has a Unix socket for its metrics. It is deleted when the last process has ended."""
    port: int
    """The port, also where the settings leave it to the system."""
    metrics_port: int | None
    """That of the metrics, if they have one of their own."""
    unix_listener: int | None
    """Descriptor of the Unix socket that takes the place of the port, if there is one."""
    lifeline: int
    """Descriptor of a pipe, which it inherits, that is at its end when the supervisor has ended."""

    @property
    def jobs_folder(self) -> Path:
        """Where it would keep jobs, which nobody can ask of it: the others would not know them."""
        return self.folder / f"jobs-{self.index}"
