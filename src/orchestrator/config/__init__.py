"""Settings: where they come from, what they may be, and the frozen result."""

from orchestrator.config.approval import ApprovalItem, write_approval
from orchestrator.config.checks import CheckSetting
from orchestrator.config.layers import Override
from orchestrator.config.load import (
    REPOSITORY_FILE,
    load_settings,
    load_stored_settings,
    read_repository_file,
    read_values,
    user_file,
)
from orchestrator.config.mounts import MountSetting
from orchestrator.config.resolve import LoadedSettings, Row
from orchestrator.config.settings import Settings
from orchestrator.config.stored import StoredSetting, list_changes, settings_to_store

__all__ = [
    "REPOSITORY_FILE",
    "ApprovalItem",
    "CheckSetting",
    "LoadedSettings",
    "MountSetting",
    "Override",
    "Row",
    "Settings",
    "StoredSetting",
    "list_changes",
    "load_settings",
    "load_stored_settings",
    "read_repository_file",
    "read_values",
    "settings_to_store",
    "user_file",
    "write_approval",
]
