"""Profile of a table: one scan for all columns, from states that add over days."""

from sparkds.features.profile.declaration import Profile

__all__ = ["Profile"]
