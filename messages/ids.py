"""Names for the strings that identify things, so that signatures say which one is meant."""

from __future__ import annotations

from typing import NewType

GuildId = NewType("GuildId", str)
"""Discord snowflake of a guild, in decimal."""

UserId = NewType("UserId", str)
"""Discord snowflake of a user, in decimal."""

ChannelId = NewType("ChannelId", str)
"""Discord snowflake of a channel or thread, in decimal."""

WorkerId = NewType("WorkerId", int)
"""0 ≤ id < pool size for shared workers; dedicated workers count on from there."""

ReqId = NewType("ReqId", str)
"""Unique per request for the life of the system; its reply carries it back."""

EventName = NewType("EventName", str)
"""Script-side event name such as `messageCreate`; `__cron:<name>` for cron runs."""
