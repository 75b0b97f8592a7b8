"""``novel-backfill profile``: what is in a dump, for planning a conversion."""

from converter.profiling.command import ProfileRequest, profile
from converter.profiling.rendering import html, text
from converter.profiling.result import Profile

__all__ = ["Profile", "ProfileRequest", "html", "profile", "text"]
