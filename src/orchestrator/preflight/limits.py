"""The known limits of the credential, so that the user sees them coming."""

from datetime import datetime, timedelta
from pathlib import Path

from orchestrator.errors import OrchestratorError
from orchestrator.gateway.access import ModelSource, Provider
from orchestrator.gateway.accounts import Account, AccountFiles, end_of
from orchestrator.preflight.site import (
    Finding,
    Site,
    report_passed,
    report_skipped,
    report_warning,
)
from orchestrator.state_folder import state_folder
from orchestrator.text import utc_text

MORNING_HOUR = 8
"""Local time: a login that ends before the next morning ends while the user is asleep."""
HIGH = 0.9
"""The share of a window from which on it is likely to end during a run."""


async def check_limits(site: Site) -> Finding:
    try:
        model, state = await site.model(), state_folder(site.host.environ)
    except OrchestratorError:
        return report_skipped("the credential or the state folder cannot be used")
    if not isinstance(model, Provider):
        return report_skipped("no credential is used")
    account = AccountFiles(state).read(model.credential)
    return limits_finding(account, site.loaded.settings.agent.model, site.host.clock.now())


def limits_finding(account: Account, chosen: str | None, now: datetime) -> Finding:
    """`chosen` is the setting `agent.model`."""
    warnings, fixes = [], []
    limit = account.limit_in_force(now, chosen)
    if limit is not None:
        until = end_of(limit, now)
        end = "at an unknown time" if until is None else _describe_time(until)
        warnings.append(f"{limit.cause.replace('_', ' ')} of the credential, ends {end}")
        fixes.append("Wait for it: orchestrator run PLAN --wait. Or try at once: orchestrator resume RUN")
    expiry = describe_login_end(account, now)
    if expiry is not None:
        warnings.append(expiry)
        fixes.append("Log in again, or use a credential that lasts: claude setup-token")
    current = [each for each in account.windows if each.resets is not None and each.resets > utc_text(now)]
    used = []
    for each in current:
        reset = datetime.fromisoformat(each.resets or "")
        name = each.window.replace("_", " ")
        share = f"{each.utilization:.0%} of the {name} window is used"
        used.append(f"{share}, it begins again {_describe_time(reset)}")
    if any(each.utilization >= HIGH for each in current):
        fixes.append("The run will wait for the window with --wait.")
    detail = "; ".join((*warnings, *used))
    if fixes:
        return report_warning(detail, "\n".join(fixes))
    return report_passed(detail or "none are known")


def list_login_notices(model: ModelSource | None, state: Path, now: datetime) -> tuple[str, ...]:
    """A notice at the start of a run whose login ends before the morning."""
    if not isinstance(model, Provider):
        return ()
    expiry = describe_login_end(AccountFiles(state).read(model.credential), now)
    return () if expiry is None else (expiry,)


def describe_login_end(account: Account, now: datetime) -> str | None:
    """None unless the login ends before the next morning, local time."""
    try:
        expires = datetime.fromisoformat(account.expires or "")
    except ValueError:
        return None
    if expires.tzinfo is None or not expires < find_next_morning(now):
        return None
    when = "has ended" if expires <= now else "ends"
    return f"the login of the credential {when} {_describe_time(expires)}, before the morning"


def find_next_morning(now: datetime) -> datetime:
    local = now.astimezone()
    morning = local.replace(hour=MORNING_HOUR, minute=0, second=0, microsecond=0)
    return morning if morning > local else morning + timedelta(days=1)


def _describe_time(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M %Z")
