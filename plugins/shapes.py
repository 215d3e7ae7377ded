"""What the requests of GitHub, GitLab and Alertmanager say, as fields for a template. Pure.

Rules:
- Each shape gives the field `text`, which is said where there is no template.
- All of it was written by strangers, and any of it may be missing or of another type than it should:
  it is shown as far as it is there.
- An event that a shape does not know is told of by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zxmpp_plugins.texts import one_line

__all__ = ["SHAPES", "alertmanager", "github", "gitlab"]

#: Characters of one field, and commits or alerts that are listed.
MAX_FIELD = 300
MAX_LISTED = 10


def _get(data: Any, *path: str) -> Any:
    """What stands in `data` at `path`; an empty text if something else does."""
    for name in path:
        data = data.get(name) if isinstance(data, dict) else None
    return "" if data is None else data


def _str(data: Any, *path: str) -> str:
    value = _get(data, *path)
    known = isinstance(value, str | int | float) and not isinstance(value, bool)
    return one_line(str(value), MAX_FIELD) if known else ""


def _list(data: Any, *path: str) -> list[Any]:
    value = _get(data, *path)
    return value if isinstance(value, list) else []


def _listed(lines: list[str], more: int) -> list[str]:
    return lines + ([f"... and {more} more"] if more > 0 else [])


def _fields(source: str, what: str, lines: list[str], **fields: str) -> dict[str, str]:
    head = f"[{source}] {what}" if source else what
    if fields.get("title"):
        head += f": {fields['title']}"
    link = [fields["url"]] if fields.get("url") else []
    return fields | {"text": "\n".join([head, *lines, *link])}


def _commits(data: Any, branch: str) -> tuple[str, list[str]]:
    commits = _list(data, "commits")
    lines = [
        f"{_str(commit, 'id')[:8]} {one_line(str(_get(commit, 'message')).partition(chr(10))[0], 100)}"
        for commit in commits[:MAX_LISTED]
    ]
    number = f"{len(commits)} commit{'' if len(commits) == 1 else 's'}"
    return f"pushed {number} to {branch}", _listed(lines, len(commits) - MAX_LISTED)


def _branch(data: Any) -> str:
    return _str(data, "ref").removeprefix("refs/heads/").removeprefix("refs/tags/")


#: Where GitHub's events have what they are about.
_GITHUB = {
    "issues": "issue", "issue_comment": "issue", "pull_request": "pull_request",
    "pull_request_review": "pull_request", "release": "release", "discussion": "discussion",
    "workflow_run": "workflow_run", "check_suite": "check_suite", "deployment_status": "deployment",
}  # fmt: skip


def github(data: Any, headers: Mapping[str, str]) -> dict[str, str]:
    """`event`, `action`, `repo`, `sender`, `title`, `url`, `text`; no text for a ping."""
    event = one_line(headers.get("x-github-event", ""), 50) or "event"
    action, repo = _str(data, "action"), _str(data, "repository", "full_name")
    sender = _str(data, "sender", "login")
    about = _get(data, _GITHUB.get(event, ""))
    title = _str(about, "title") or _str(about, "name")
    number, result = _str(about, "number"), _str(about, "conclusion")
    url = _str(data, "comment", "html_url") or _str(about, "html_url") or _str(data, "compare")
    lines: list[str] = []
    what = " ".join(filter(None, (sender, event.replace("_", " "), number and f"#{number}",
                                  action, result)))  # fmt: skip
    if event == "push":
        pushed, lines = _commits(data, _branch(data))
        what = f"{sender} {pushed}"
    fields = _fields(repo, what, lines, event=event, action=action, repo=repo, sender=sender,
                     title=title, url=url)  # fmt: skip
    return fields | {"text": ""} if event == "ping" else fields


def gitlab(data: Any, headers: Mapping[str, str]) -> dict[str, str]:
    """`event`, `action`, `repo`, `sender`, `title`, `url`, `text`."""
    event = _str(data, "object_kind") or one_line(headers.get("x-gitlab-event", "event"), 50)
    about = _get(data, "object_attributes")
    action = _str(about, "action") or _str(about, "status")
    repo = _str(data, "project", "path_with_namespace")
    sender = _str(data, "user", "username") or _str(data, "user_username")
    title = _str(about, "title") or _str(about, "note") or _str(about, "ref")
    url, number = _str(about, "url"), _str(about, "iid")
    lines: list[str] = []
    what = " ".join(
        filter(None, (sender, event.replace("_", " "), number and f"#{number}", action))
    )
    if event in ("push", "tag_push"):
        pushed, lines = _commits(data, _branch(data))
        what = f"{sender} {pushed}"
    return _fields(repo, what, lines, event=event, action=action, repo=repo, sender=sender,
                   title=title, url=url)  # fmt: skip


def alertmanager(data: Any, headers: Mapping[str, str]) -> dict[str, str]:
    """`status`, `receiver`, `name`, `severity`, `count`, `url`, `text`, a line for each alert."""
    alerts = _list(data, "alerts")
    lines = []
    for alert in alerts[:MAX_LISTED]:
        name, instance = _str(alert, "labels", "alertname"), _str(alert, "labels", "instance")
        about = _str(alert, "annotations", "summary") or _str(alert, "annotations", "description")
        head = f"[{_str(alert, 'status').upper()}] {name}" + (f" on {instance}" if instance else "")
        lines.append(f"{head}: {about}" if about else head)
    return {
        "status": _str(data, "status"),
        "receiver": _str(data, "receiver"),
        "name": _str(data, "groupLabels", "alertname") or _str(data, "commonLabels", "alertname"),
        "severity": _str(data, "commonLabels", "severity"),
        "count": str(len(alerts)),
        "url": _str(data, "externalURL"),
        "text": "\n".join(_listed(lines, len(alerts) - MAX_LISTED)),
    }


SHAPES = {"github": github, "gitlab": gitlab, "alertmanager": alertmanager}
