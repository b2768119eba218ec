"""Fixtures of the commands' tests."""

from __future__ import annotations

from tests.cli.programs import wire

__all__ = ["wire"]
