"""The index of a store at a URL: every model, its versions, its current version, and the digest of every file.

It is the one file of the store that changes, and is replaced only by a conditional write. Readers need no listing.
"""

import hashlib
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from model_store.errors import CorruptModel, UnknownModel
from model_store.manifest import Name

INDEX_FILE = "index.json"

FileName = Literal["manifest.json", "weights.safetensors", "golden.safetensors", "preview.png", "README.md"]
Number = Annotated[int, Field(ge=1)]


class IndexedFile(BaseModel):
    """A file of a version. Once published it never changes."""

    model_config = ConfigDict(frozen=True)

    size: int = Field(ge=0, description="bytes")
    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")

    @classmethod
    def of(cls, content: bytes) -> "IndexedFile":
        """What the index says of a file of this content."""
        return cls(size=len(content), digest=f"sha256:{hashlib.sha256(content).hexdigest()}")

    def fits(self, content: bytes) -> bool:
        """Whether a file of this content is meant."""
        return self == IndexedFile.of(content)


Files = dict[FileName, IndexedFile]


class IndexedModel(BaseModel):
    """The versions of a model, and which of them is current."""

    model_config = ConfigDict(frozen=True)

    current: int = Field(ge=1)
    versions: dict[Number, Files] = Field(min_length=1)

    @model_validator(mode="after")
    def _has_its_current_version(self) -> "IndexedModel":
        if self.current not in self.versions:
            raise ValueError(f"the current version {self.current} is none of {sorted(self.versions)}")
        return self


class Index(BaseModel):
    """All models of a store. It is never changed; each change makes another one."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1] = 1
    models: dict[Name, IndexedModel] = Field(default_factory=dict)

    @classmethod
    def parse(cls, content: bytes, label: str) -> "Index":
        """Read the file. Raises CorruptModel where it is damaged or truncated."""
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            complaint = error.errors()[0]
            place = ".".join(map(str, complaint["loc"]))
            raise CorruptModel(f"{label}: unreadable {INDEX_FILE}: {place} {complaint['msg']}") from error

    def format_file(self) -> bytes:
        """The content of the file."""
        return self.model_dump_json(indent=1).encode()

    def has(self, name: str, version: int) -> bool:
        """Whether it has that version of a model."""
        return name in self.models and version in self.models[name].versions

    def with_version(self, name: str, version: int, files: Files) -> "Index":
        """The index with one more version, which is current unless there is a newer one."""
        known = self.models.get(name)
        versions = {**(known.versions if known else {}), version: files}
        current = version if known is None or version == max(versions) else known.current
        return self._with(name, IndexedModel(current=current, versions=versions))

    def with_current(self, name: str, version: int) -> "Index":
        """The index with another current version. Raises UnknownModel where it is not there."""
        known = self._known(name)
        if version not in known.versions:
            raise UnknownModel(f"no version {version} of {name!r}; there are: {sorted(known.versions)}")
        return self._with(name, IndexedModel(current=version, versions=known.versions))

    def with_rollback(self, name: str) -> "Index":
        """The index with the version before the current one. Raises UnknownModel where there is none."""
        known = self._known(name)
        earlier = [version for version in known.versions if version < known.current]
        if not earlier:
            raise UnknownModel(f"{name}@{known.current} is the oldest version; there is none to roll back to")
        return self.with_current(name, max(earlier))

    def _known(self, name: str) -> IndexedModel:
        known = self.models.get(name)
        if known is None:
            raise UnknownModel(f"no model {name!r}; there are: {', '.join(sorted(self.models)) or 'none'}")
        return known

    def _with(self, name: str, model: IndexedModel) -> "Index":
        return Index(models={**self.models, name: model})
