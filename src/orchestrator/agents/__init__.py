"""Agent drivers: how each coding agent is started and what its output means."""
