"""Carries out a Markdown plan, unattended, with a coding agent in a disposable container."""
