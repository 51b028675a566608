"""Finds where a setting of an app stands, and which of those places decides."""
