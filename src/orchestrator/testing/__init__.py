"""Fakes for tests of the program and of what is built around it: an engine, a clock, an agent, a project."""
