"""What is said of the requests of GitHub, GitLab and Alertmanager, and of nonsense."""

from __future__ import annotations

from typing import Any

import pytest

from zxmpp_plugins.shapes import MAX_LISTED, SHAPES

REPO = {"repository": {"full_name": "acme/site"}, "sender": {"login": "ann"}}
PROJECT = {"project": {"path_with_namespace": "acme/site"}, "user": {"username": "ann"}}


@pytest.mark.parametrize(
    ("shape", "event", "data", "text"),
    [
        ("github", "push",
         REPO | {"ref": "refs/heads/main", "compare": "http://x", "commits": [
             {"id": "1a2b3c4d5e", "message": "Fix\n\nall"}]},
         "[acme/site] ann pushed 1 commit to main\n1a2b3c4d Fix\nhttp://x"),
        ("github", "issues",
         REPO | {"action": "opened", "issue": {"number": 7, "title": "It\nburns", "html_url": "u"}},
         "[acme/site] ann issues #7 opened: It burns\nu"),
        ("github", "workflow_run",
         REPO | {"action": "completed", "workflow_run": {"name": "CI", "conclusion": "failure"}},
         "[acme/site] ann workflow run completed failure: CI"),
        ("github", "star", REPO | {"action": "created"}, "[acme/site] ann star created"),
        ("github", "ping", REPO, ""),
        ("gitlab", "Push Hook",
         {"object_kind": "push", "user_username": "ann", "ref": "refs/heads/main",
          "commits": [{"id": "1", "message": "x"}] * (MAX_LISTED + 2)} | PROJECT,
         "[acme/site] ann pushed 12 commits to main" + "\n1 x" * MAX_LISTED + "\n... and 2 more"),
        ("gitlab", "Merge Request Hook",
         PROJECT | {"object_kind": "merge_request", "object_attributes": {
             "iid": 3, "action": "merge", "title": "Paint", "url": "http://x"}},
         "[acme/site] ann merge request #3 merge: Paint\nhttp://x"),
        ("alertmanager", "",
         {"alerts": [
             {"status": "firing", "labels": {"alertname": "Disk", "instance": "db1"},
              "annotations": {"summary": "full"}},
             {"status": "resolved", "labels": {"alertname": "Load"}}]},
         "[FIRING] Disk on db1: full\n[RESOLVED] Load"),
    ],
)  # fmt: skip
def test_what_is_said(shape: str, event: str, data: dict[str, Any], text: str) -> None:
    fields = SHAPES[shape](data, {"x-github-event": event, "x-gitlab-event": event})
    assert fields["text"] == text


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("junk", [None, 7, True, "x" * 10_000, [], [[1]], {"a": {}}, [None, 1, {}]])
def test_nonsense_is_shown_as_far_as_it_is_there(shape: str, junk: Any) -> None:
    names = ("ref", "commits", "alerts", "repository", "sender", "issue", "project", "user",
             "object_attributes", "object_kind", "status", "labels", "action")  # fmt: skip
    for event in ("push", "issues", "ping", "x" * 10_000, ""):
        headers = {"x-github-event": event, "x-gitlab-event": event}
        fields = SHAPES[shape](dict.fromkeys(names, junk), headers)
        assert all(isinstance(value, str) for value in fields.values())
        assert len(fields["text"]) < 5000
