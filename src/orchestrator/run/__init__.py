"""Facts of a run, the state and phases folded from them, reports, prompts, the hand-off. Pure: no I/O."""
