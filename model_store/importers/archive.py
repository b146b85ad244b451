"""Zip archives, as torch and NumPy write them: how much they may unpack to."""

import io
from zipfile import ZipFile

from model_store.errors import UnknownCheckpoint

MOST_TIMES = 16
"""Its own size that a file may unpack to: weights hardly compress, and those in 32 bits that fill 8 to a quarter."""

ALWAYS_TAKEN = 2**26
"""Bytes that any file may unpack to: small networks can be mostly zeros."""


def unpacked_size(content: bytes) -> int:
    """The bytes that an archive says it unpacks to; of these no reader takes more."""
    with ZipFile(io.BytesIO(content)) as archive:
        return sum(member.file_size for member in archive.infolist())


def require_state_dict(content: bytes) -> None:
    """Raise UnknownCheckpoint for an archive that torch.save has not written, such as the programs of torch."""
    with ZipFile(io.BytesIO(content)) as archive:
        names = {name.rpartition("/")[2] for name in archive.namelist()}
    if "data.pkl" not in names or "constants.pkl" in names:
        raise UnknownCheckpoint(
            "it is no state dict, but another archive, such as a program of TorchScript or PT2; the state dict of its "
            "network is wanted, as torch.save writes it"
        )


def require_bounded(unpacked: int, packed: int) -> None:
    """Raise UnknownCheckpoint where so many bytes would come of a file of so many."""
    most = max(MOST_TIMES * packed, ALWAYS_TAKEN)
    if unpacked > most:
        raise UnknownCheckpoint(
            f"it unpacks to {unpacked:,} bytes; a file of {packed:,} may unpack to {most:,}. Weights that are not "
            "compressed are wanted, as torch.save, numpy.savez and safetensors write them"
        )
