"""A keys file, and what its clients send."""

from pathlib import Path

from service.http.access.api_key import digest, new_key

Headers = dict[str, str]


def write_keys(path: Path, **options: str) -> dict[str, Headers]:
    """A keys file with a new key for each name, and further lines of TOML; what clients send, by name."""
    keys = {name: new_key() for name in options}
    tables = (f'[keys.{name}]\nsha256 = "{digest(keys[name])}"\n{lines}\n' for name, lines in options.items())
    path.write_text("\n".join(tables))
    return {name: {"Authorization": f"Bearer {key}"} for name, key in keys.items()}
