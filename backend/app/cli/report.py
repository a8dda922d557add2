"""`litevault check`: what was looked at, in a line each, and the exit code. Looks, and changes nothing."""

import asyncio
import json
from dataclasses import asdict

import typer

from app.cli.checks import examine
from app.cli.finding import Finding
from app.cli.variables import unknown_variables
from app.config import Settings, load_settings
from app.errors import SettingsRefused
from app.logs import configure_logs


def check_and_tell(*, live: bool, as_json: bool) -> int:
    """The exit code: 1 when anything is wrong."""
    findings = [Finding("variables", sentence, is_well=False) for sentence in unknown_variables()]
    try:
        settings = load_settings()
    except SettingsRefused as refusal:
        findings[:0] = [Finding("settings", complaint, is_well=False) for complaint in refusal.complaints]
        findings.append(Finding("the rest", "can be looked at when the settings are right", is_well=None))
    else:
        configure_logs("error", settings.log_format)
        findings.insert(0, Finding("settings", _told(settings)))
        findings += asyncio.run(examine(settings, live=live))
    typer.echo(_as_json(findings) if as_json else "\n".join(map(str, findings)))
    return 1 if any(finding.is_well is False for finding in findings) else 0


def _told(settings: Settings) -> str:
    identity = (
        "whoever names a user in X-Dev-User-Id is let in" if settings.dev_auth_allowed else "X-Dev-User-Id is off"
    )
    return f"{settings.environment}, {identity}"


def _as_json(findings: list[Finding]) -> str:
    is_well = all(finding.is_well is not False for finding in findings)
    return json.dumps(
        {"ok": is_well, "findings": [asdict(finding) for finding in findings]}, ensure_ascii=False, indent=2
    )
