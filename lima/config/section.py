"""Base class and shared types of the sections of params.yaml: strict, immutable, without unknown keys."""

import re
import unicodedata
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def usable_key(key: object) -> object:
    """Return a registry's key unchanged if it can be part of a path and of a DVC stage name.

    Raises:
        ValueError: YAML does not read the key as text, or the key has characters other than letters, digits, "_" and
            "-"; the message proposes a valid key.
    """
    if not isinstance(key, str):
        raise ValueError(f'YAML reads the key {key} as {type(key).__name__}, not as text; quote it: "{key}"')
    if not KEY.fullmatch(key):
        addressed = re.search(r"[.@]", key) and "/" not in key
        reason = "DVC cannot address it" if addressed else "it is part of paths and of DVC's stage names"
        raise ValueError(
            f"{key!r} cannot be a key, since {reason}; write it with A-Z, a-z, 0-9, '_' and '-' alone and begin with a "
            f"letter or digit, for example {_proposed(key)!r}"
        )
    return key


def _proposed(key: str) -> str:
    plain = unicodedata.normalize("NFKD", key).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_-]+", "_", plain).strip("_-") or "name"


Key = Annotated[str, BeforeValidator(usable_key)]
Share = Annotated[float, Field(ge=0, le=1)]
OpenShare = Annotated[float, Field(gt=0, lt=1)]


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
