"""Findings of the checks, from values alone: no folder, no engine."""

import pytest

from orchestrator.preflight.environment import (
    FREE_BYTES_WARNING,
    disk_finding,
    proxy_finding,
)
from orchestrator.preflight.repository import git_settings_finding, owner_finding, signing_finding
from orchestrator.preflight.site import Finding

CASES = [
    ("disk, plenty", disk_finding(FREE_BYTES_WARNING, "/s"), "ok"),
    ("disk, little", disk_finding(FREE_BYTES_WARNING - 1, "/s"), "warning"),
    ("an ordinary owner", owner_finding(1000), "ok"),
    ("root owns it", owner_finding(0), "warning"),
    ("commits not signed", signing_finding(signs=False), "ok"),
    ("commits signed", signing_finding(signs=True), "warning"),
    ("no setting leads in", git_settings_finding(()), "ok"),
    ("a setting leads in", git_settings_finding(("core.hookspath = hooks (set in .git/config)",)), "warning"),
    ("no proxy", proxy_finding({}), "ok"),
    ("an open proxy", proxy_finding({"HTTPS_PROXY": "http://proxy.example:3128"}), "ok"),
    ("a user's name", proxy_finding({"HTTPS_PROXY": "http://ada@proxy.example:3128"}), "warning"),
    ("on this machine", proxy_finding({"ALL_PROXY": "socks5://127.0.0.1:1080"}), "warning"),
    ("replaced", proxy_finding({"https_proxy": "http://localhost:3128"}, {"HTTPS_PROXY": "x"}), "ok"),
    ("a password", proxy_finding({"https_proxy": "http://ada:secret@proxy.example:3128"}), "warning"),
    ("an address that is none", proxy_finding({"HTTP_PROXY": "http://[:3128"}), "warning"),
]


@pytest.mark.parametrize(("check", "status"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_status(check: Finding, status: str) -> None:
    assert check.status == status
    assert (check.fix is not None) == (status in ("warning", "failed"))


def test_the_password_itself_is_not_shown() -> None:
    check = proxy_finding({"https_proxy": "http://ada:hunter2@proxy.example:3128"})
    assert "https_proxy" in check.detail
    assert "hunter2" not in str(check)


def test_a_root_owner_is_reported_with_the_variable_that_claude_code_needs() -> None:
    assert "IS_SANDBOX=1" in owner_finding(0).detail


def test_a_setting_that_names_a_file_in_the_folder_is_reported_with_its_origin() -> None:
    assert (
        "core.hookspath = hooks (set in /etc/g)"
        in git_settings_finding(["core.hookspath = hooks (set in /etc/g)"]).detail
    )
