"""The journal: the append-only store of facts. Everything else is derived from it."""
