"""Pydantic models: what a legacy job may hold, and what the four target collections require."""
