"""Reruns the tables and figures of Johnson, Alahi and Fei-Fei 2016 (ECCV), with the paper's figures beside ours."""

from collections.abc import Callable, Mapping

from pydantic import BaseModel

from trainer.paper.curves import CurvesConfig, curves
from trainer.paper.loss_networks import LossNetworksConfig, loss_networks
from trainer.paper.speed import SpeedConfig, speed
from trainer.paper.super_resolution import SuperResolutionTableConfig, super_resolution

TABLES: Mapping[str, tuple[type[BaseModel], Callable[..., str]]] = {
    "speed": (SpeedConfig, speed),
    "objective": (CurvesConfig, curves),
    "super-resolution": (SuperResolutionTableConfig, super_resolution),
    "loss-networks": (LossNetworksConfig, loss_networks),
}
"""The commands: their options, and what carries them out."""
