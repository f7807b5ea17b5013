"""Declarations: statements of what is wanted, checked when they are made and never changed afterwards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict


class Declaration(BaseModel):
    """Frozen model that refuses unknown fields, NaN and infinities; what every declaration inherits."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @property
    def definition_hash(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the canonical JSON: the same for the same statement."""
        told = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Declaration with other values of some fields, checked like a new one; nothing that was computed from the old ones stays.

        Raises
        ------
        pydantic.ValidationError
            The new values do not fit.
        """
        fields = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self).model_validate({**fields, **(update or {})})
