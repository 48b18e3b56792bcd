"""Words that several commands share in their help texts."""

RUN_HELP = "a run's id, a unique prefix of it, or its plan's path (the latest run)"
