"""ComfyUI nodes that send images to a Pastiche service. Copy this file into ComfyUI's folder custom_nodes."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import pastiche

SERVER = ("STRING", {"default": os.environ.get("PASTICHE_SERVER") or "http://127.0.0.1:8000"})
"""Keys come from the environment, PASTICHE_KEY, so that no workflow that is shared has one."""


class PasticheStylize:
    """Paints each image of a batch in a style, or in several: great-wave:0.7,the-scream:0.3."""

    CATEGORY = "image/pastiche"
    FUNCTION = "stylize"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802 # ComfyUI's name
        """What the node takes. White parts of the mask are painted."""
        return {
            "required": {
                "image": ("IMAGE",),
                "style": ("STRING", {"default": "great-wave"}),
                "strength": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.05}),
                "preserve_color": ("BOOLEAN", {"default": False}),
                "server": SERVER,
            },
            "optional": {"mask": ("MASK",)},
        }

    def stylize(
        self,
        image: torch.Tensor,
        style: str,
        strength: float,
        preserve_color: bool,
        server: str,
        mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor]:
        """The painted batch, of the same size."""
        masks = None if mask is None else _to_arrays(mask)

        def paint(client: pastiche.Client, index: int, pixels: np.ndarray[Any, Any]) -> pastiche.Picture:
            own = None if masks is None else masks[index % len(masks)]
            return client.stylize(
                pixels, style, mask=own, strength=strength, preserve_color=preserve_color, format="png"
            )

        return (_each(image, server, paint),)


class PasticheUpscale:
    """Enlarges each image of a batch."""

    CATEGORY = "image/pastiche"
    FUNCTION = "upscale"
    RETURN_TYPES = ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:  # noqa: N802
        """What the node takes."""
        return {
            "required": {
                "image": ("IMAGE",),
                "scale": ("FLOAT", {"default": 4.0, "min": 1.01, "max": 16.0, "step": 0.01}),
                "model": ("STRING", {"default": "auto"}),
                "server": SERVER,
            }
        }

    def upscale(self, image: torch.Tensor, scale: float, model: str, server: str) -> tuple[torch.Tensor]:
        """The enlarged batch."""

        def enlarge(client: pastiche.Client, _: int, pixels: np.ndarray[Any, Any]) -> pastiche.Picture:
            return client.upscale(pixels, scale, model=model, format="png")

        return (_each(image, server, enlarge),)


NODE_CLASS_MAPPINGS: dict[str, type] = {"PasticheStylize": PasticheStylize, "PasticheUpscale": PasticheUpscale}
NODE_DISPLAY_NAME_MAPPINGS = {"PasticheStylize": "Pastiche: stylize", "PasticheUpscale": "Pastiche: upscale"}

Call = Callable[[pastiche.Client, int, np.ndarray[Any, Any]], pastiche.Picture]


def _each(batch: torch.Tensor, server: str, call: Call) -> torch.Tensor:
    """What the service makes of each image of a batch, float32 (batch, height, width, channels) from 0 to 1."""
    with pastiche.Client(server, key=os.environ.get("PASTICHE_KEY")) as client:
        pictures = [call(client, index, pixels) for index, pixels in enumerate(_to_arrays(batch))]
    arrays = [np.asarray(picture.image(), np.float32) / 255 for picture in pictures]
    return torch.from_numpy(np.stack(arrays))


def _to_arrays(batch: torch.Tensor) -> list[np.ndarray[Any, Any]]:
    """Each image or mask of a batch with values from 0 to 1, as uint8."""
    return list((batch.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy())
