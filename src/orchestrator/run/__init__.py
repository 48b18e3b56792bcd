"""What has happened in a run: facts, the state folded from them, prompts and the hand-off. Pure: no I/O."""
