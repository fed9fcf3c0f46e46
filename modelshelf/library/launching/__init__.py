"""Launching: an engine started from a template revision, and proven by a token of each of its models."""
