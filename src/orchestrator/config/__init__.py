"""Settings: where they come from, what they may be, and the frozen result."""

from orchestrator.config.approval import ApprovalItem, write_approval
from orchestrator.config.checks import CheckSetting
from orchestrator.config.layers import Override
from orchestrator.config.load import REPOSITORY_FILE, load_settings, user_file
from orchestrator.config.mounts import MountSetting
from orchestrator.config.resolve import LoadedSettings, Row
from orchestrator.config.settings import Settings

__all__ = [
    "REPOSITORY_FILE",
    "ApprovalItem",
    "CheckSetting",
    "LoadedSettings",
    "MountSetting",
    "Override",
    "Row",
    "Settings",
    "load_settings",
    "user_file",
    "write_approval",
]
