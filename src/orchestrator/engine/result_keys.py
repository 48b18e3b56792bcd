"""A key of everything that the result of a command depends on: equal keys allow to use a result again."""

import json
from hashlib import sha256

from orchestrator.engine.context import RunTerms

_FORMAT = 1


def result_keys(terms: RunTerms, *, tree: str, image: str, commands: tuple[str, ...]) -> tuple[str, ...]:
    """The key of each of these commands, which one container runs in this order.

    The commands before one belong to its key, because they can leave files behind. The image is that of
    setup, so everything that setup depends on belongs to it, too.
    """
    specs, settings = terms.specs, terms.settings
    container = settings.container
    shared = [
        _FORMAT,
        tree,
        image,
        sorted(specs.variables.items()),
        sorted((str(mount.source), mount.target, mount.read_only) for mount in specs.machine.mounts),
        [container.memory, container.cpus, container.pids, container.network, settings.verify.timeout],
        [specs.owner.uid, specs.owner.gid],
    ]
    return tuple(
        sha256(json.dumps([*shared, commands[:count]]).encode()).hexdigest()
        for count in range(1, len(commands) + 1)
    )
