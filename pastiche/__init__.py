"""Pastiche for programs: `pastiche.load("great-wave")(image)` without a server, and a client of a service.

Names are imported when they are first used, so that a program pays only for what it needs.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from client.answers import Estimate, Health, JobStatus, ModelDetails, ModelSummary
    from client.async_client import AsyncClient, AsyncJob
    from client.errors import PasticheError, Problem
    from client.picture import Picture
    from client.retries import RetryPolicy
    from client.sync_client import Client, Job
    from pastiche import errors
    from pastiche.loading import load, models
    from pastiche.model import Model
    from service.errors import ServiceError
else:
    from pastiche.exports import import_name as __getattr__  # noqa: F401 # looks names up (PEP 562)

__all__ = [
    "AsyncClient",
    "AsyncJob",
    "Client",
    "Estimate",
    "Health",
    "Job",
    "JobStatus",
    "Model",
    "ModelDetails",
    "ModelSummary",
    "PasticheError",
    "Picture",
    "Problem",
    "RetryPolicy",
    "ServiceError",
    "errors",
    "load",
    "models",
]
