"""Containers: the engine's client, the profile every container gets, and the coding agent container."""
