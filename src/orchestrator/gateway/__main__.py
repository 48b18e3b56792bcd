"""Start the gateway of a state folder: `python -m orchestrator.gateway --state DIR --state-id ID`."""

import argparse
import asyncio
import logging
import os
from functools import partial
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(prog="orchestrator.gateway")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--state-id", required=True, help="value of the containers' ktrdr.state label")
    options = parser.parse_args()
    # The gateway has to outlive its starter. When an event loop closes, asyncio kills the children that it
    # started, so the gateway must not be one of them: the child exits here and its own child serves.
    if os.fork():
        os._exit(0)
    os.umask(0o077)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    from orchestrator.clock import SystemClock
    from orchestrator.gateway.process import serve
    from orchestrator.gateway.running import list_running_attempts

    running = partial(list_running_attempts, options.state_id)
    asyncio.run(serve(options.state, running, os.environ.get("NODE_EXTRA_CA_CERTS"), SystemClock()))


if __name__ == "__main__":
    main()
