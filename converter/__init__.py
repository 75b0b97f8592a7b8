"""Converts dumps of a legacy collection of novel-generation jobs into four NDJSON files that mongoimport loads."""
