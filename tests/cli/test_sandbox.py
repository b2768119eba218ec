"""Why there is no sandbox, and what to do about it."""

from __future__ import annotations

import pytest

from stack.cli.sandbox import refusal


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [
        ({"kernel/unprivileged_userns_clone": "0"}, "sudo sysctl kernel.unprivileged_userns_clone=1"),
        ({"user/max_user_namespaces": "0"}, "sudo sysctl user.max_user_namespaces=15000"),
        (
            {"kernel/apparmor_restrict_unprivileged_userns": "1", "kernel/unprivileged_userns_clone": "1"},
            "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ({"kernel/apparmor_restrict_unprivileged_userns": "0"}, "--privileged"),
        ({}, "--privileged"),
    ],
)
def test_the_remedy_fits_the_kernels_settings(settings: dict[str, str], remedy: str) -> None:
    error = refusal("unshare: Operation not permitted", lambda name: settings.get(name, ""))
    assert remedy in error.remedy
    assert "sudo tcpstack demo" in error.remedy
    assert "Operation not permitted" in error.message
