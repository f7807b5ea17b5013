"""Declarations: statements of what is wanted, checked when they are made and never changed afterwards."""

from __future__ import annotations

import hashlib
import json

from pydantic import BaseModel, ConfigDict


class Declaration(BaseModel):
    """Frozen model that refuses unknown fields, NaN and infinities; what every declaration inherits."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @property
    def definition_hash(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of the canonical JSON: the same for the same statement."""
        told = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(told.encode()).hexdigest()[:16]
