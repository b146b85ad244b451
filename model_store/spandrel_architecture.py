"""Our networks as an architecture of spandrel, so that what is built on it loads an exported safetensors file.

https://github.com/chaiNNer-org/spandrel
"""

from spandrel import MAIN_REGISTRY, Architecture, ArchRegistry, ArchSupport, ImageModelDescriptor, ModelTiling
from torch import Tensor

from model_store.errors import UnknownCheckpoint
from model_store.networks.transform import NetworkSpec, TransformNetwork
from model_store.portable import MANIFEST_TENSOR, manifest_of, weights_of


def register(registry: ArchRegistry = MAIN_REGISTRY) -> None:
    """Let loaders of `registry`, by default all of this process, load our networks. A second call changes nothing."""
    registry.add(ArchSupport.from_architecture(TransformArchitecture()), ignore_duplicates=True)


class TransformArchitecture(Architecture[TransformNetwork]):  # type: ignore[misc] # spandrel has no types
    """The networks that `pastiche-models export --to safetensors` writes."""

    def __init__(self) -> None:
        super().__init__(id="Pastiche", name="Pastiche", detect=lambda state: MANIFEST_TENSOR in state)

    def load(self, state_dict: dict[str, Tensor]) -> ImageModelDescriptor[TransformNetwork]:
        """Build a network in fp32. Raises UnknownCheckpoint where its manifest cannot be read."""
        manifest = manifest_of(state_dict, {})
        if manifest is None or not isinstance(manifest.network, NetworkSpec):
            raise UnknownCheckpoint("the file holds no network of Pastiche's own")
        spec = manifest.network
        return ImageModelDescriptor(
            TransformNetwork(spec).eval(),
            weights_of(state_dict),
            architecture=self,
            purpose="SR" if spec.scale > 1 else "Restoration",
            tags=[manifest.label],
            supports_half=True,
            supports_bfloat16=True,
            scale=spec.scale,
            input_channels=3,
            output_channels=3,
            tiling=ModelTiling.SUPPORTED if _seamless(spec) else ModelTiling.DISCOURAGED,
            call_fn=_call,
        )


def _seamless(spec: NetworkSpec) -> bool:
    """Whether tiles with a halo need nothing else. With thumbnail normalisation they need statistics of the image."""
    return spec.tileable and spec.norm != "thumbnail"


def _call(network: TransformNetwork, image: Tensor) -> Tensor:
    """The answer in the precision of the image. Input and output of our networks are float32 whatever their weights."""
    result: Tensor = network(image.float())
    return result.to(image.dtype)
