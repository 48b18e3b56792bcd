"""One attempt in three parts: start the agent's container, follow it to its end, record the end.

The orchestrator can be killed at any moment, and the agent then works on alone. The order of facts and
effects makes every such moment recognisable afterwards:

    attempt_started -> container created and started -> stop begun -> last reading of the output
    -> attempt_ended -> container removed -> closed at the gateway

The fact comes before the container, so there is never a container that the journal does not know. The end
comes before the removal, so the output is still there as long as the end is not recorded. A container without
an end in the journal therefore belongs to an attempt that has to be recorded, and one whose attempt has ended
only has to be removed. This also holds after a failure: where no end could be recorded, the container stays.
All that following and recording need is in the journal and in the attempt's folder, so another process can do
both later.
"""

import asyncio
import dataclasses
import secrets
import uuid
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from orchestrator.agents.base import OUTCOME_FILE, AgentDriver, Launch, LaunchRequest, Session
from orchestrator.agents.outcomes import read_outcome_file
from orchestrator.config import REPOSITORY_FILE, read_repository_file
from orchestrator.config.settings import RunLimits
from orchestrator.containers.base import ContainerSpec
from orchestrator.containers.names import overlay_name
from orchestrator.containers.start import remove_container, start_container
from orchestrator.engine.agent_output import AgentOutputRecorder
from orchestrator.engine.agent_watch import LiveAttempt, follow, kill, replay
from orchestrator.engine.attempt_tree import attempt_folders, save_tree
from orchestrator.engine.context import ModelAccess, RunRecords, RunTerms, Services
from orchestrator.engine.heartbeat import heartbeat
from orchestrator.engine.overlays import mask_mounts, remove_overlay_folders
from orchestrator.engine.sessions import carry_session, session_exists
from orchestrator.engine.setup import SetupCover, SetupOwner, cover_with_setup, ensure_setup_image
from orchestrator.errors import CodingAgentError, ConfigurationError, UsageError
