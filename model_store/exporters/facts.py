"""What an exported file says of its network, so that it can be told from others years later."""

from model_store.manifest import Manifest


def facts(manifest: Manifest, *, batched: bool = True) -> dict[str, str]:
    """The entries of the file's metadata, all of them text. `batched`: whether it takes several images at a time."""
    images = "batch" if batched else "1"
    found = {
        "name": manifest.name,
        "version": str(manifest.version),
        "title": manifest.title,
        "task": manifest.task,
        "license": manifest.license,
        "digest": manifest.digest,
        "architecture": manifest.network.architecture,
        "scale": str(manifest.scale),
        "halo": str(manifest.halo),
        "tileable": str(manifest.tileable).lower(),
        "input": f"RGB, float32 ({images}, 3, height, width), 0 to 1",
        "output": f"RGB, float32 ({images}, 3, {manifest.scale} · height, {manifest.scale} · width), 0 to 1",
        "created": manifest.created.isoformat(),
        "author": manifest.origin.author if manifest.origin else "",
        "source": manifest.origin.source if manifest.origin else "",
    }
    return {name: value for name, value in found.items() if value}
