"""Fakes for tests of the orchestrator and of programs around it: an engine, a clock, an agent, a project."""
