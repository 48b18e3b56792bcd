"""Gates: checks that the orchestrator runs on a candidate in a fresh container, and the evidence of each."""
