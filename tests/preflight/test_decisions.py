"""What is made of what was seen; no folder, no engine."""

import pytest

from orchestrator.preflight.environment import (
    DISK_BYTES,
    FREE_BYTES_WARNING,
    disk_check,
    image_check,
    proxy_check,
)
from orchestrator.preflight.repository import git_settings_check, owner_check, signing_check
from orchestrator.preflight.site import Finding

CASES = [
    ("disk, plenty", disk_check(FREE_BYTES_WARNING, "/s"), "ok"),
    ("disk, little", disk_check(FREE_BYTES_WARNING - 1, "/s"), "warning"),
    ("disk, hardly any", disk_check(DISK_BYTES - 1, "/s"), "failed"),
    ("image there", image_check("i:1", "sha256:0123456789abcdef"), "ok"),
    ("no image", image_check("i:1", None), "failed"),
    ("an ordinary owner", owner_check(1000), "ok"),
    ("root owns it", owner_check(0), "warning"),
    ("commits not signed", signing_check(signs=False), "ok"),
    ("commits signed", signing_check(signs=True), "warning"),
    ("no setting leads in", git_settings_check(()), "ok"),
    ("a setting leads in", git_settings_check(("core.hookspath = hooks (set in .git/config)",)), "warning"),
    ("no proxy", proxy_check({}), "ok"),
    ("an open proxy", proxy_check({"HTTPS_PROXY": "http://proxy.example:3128"}), "ok"),
    ("a user's name", proxy_check({"HTTPS_PROXY": "http://ada@proxy.example:3128"}), "ok"),
    ("a password", proxy_check({"https_proxy": "http://ada:secret@proxy.example:3128"}), "warning"),
    ("an address that is none", proxy_check({"HTTP_PROXY": "http://[:3128"}), "ok"),
]


@pytest.mark.parametrize(("check", "status"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_status(check: Finding, status: str) -> None:
    assert check.status == status
    assert (check.mend is not None) == (status in ("warning", "failed"))


def test_the_password_itself_is_not_shown() -> None:
    check = proxy_check({"https_proxy": "http://ada:hunter2@proxy.example:3128"})
    assert "https_proxy" in check.detail
    assert "hunter2" not in str(check)


def test_root_as_owner_is_said_with_the_variable_that_claude_code_asks_for() -> None:
    assert "IS_SANDBOX=1" in owner_check(0).detail


def test_a_setting_that_leads_in_is_named_with_its_file() -> None:
    assert (
        "core.hookspath = hooks (set in /etc/g)"
        in git_settings_check(["core.hookspath = hooks (set in /etc/g)"]).detail
    )
