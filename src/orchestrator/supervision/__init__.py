"""Decisions over the state of a run: what to do next. Pure: no I/O, no clock."""
