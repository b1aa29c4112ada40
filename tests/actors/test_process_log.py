"""The process log, for people and for programs."""

from __future__ import annotations

import json
import logging

import pytest

from flora.actors.process_log import configure_logging
from flora.messages.base import TraceContext
from flora.messages.trace import working_on


@pytest.fixture
def root():
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = before
    root.setLevel(level)


def test_given_no_terminal_when_something_is_told_then_it_is_one_json_object_with_its_fields(root, capfd):
    configure_logging("flora=info", "worker 3")

    logging.getLogger("flora.actors.worker").warning("guild %s moved", 7, extra={"guild_id": "7", "trace_id": "ab"})
    try:
        raise ValueError("line one\nline two")
    except ValueError:
        logging.getLogger("flora.actors.worker").exception("failed")

    first, second = map(json.loads, capfd.readouterr().err.splitlines())
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "level": "warn", "process": "worker 3", "target": "flora.actors.worker", "message": "guild 7 moved",
        "guild_id": "7", "trace_id": "ab",
    }  # fmt: skip
    assert "line one\nline two" in second["stack"]


def test_given_pretty_when_something_is_told_then_the_sentence_comes_first(root, capfd):
    configure_logging("flora=info", "router", "pretty")

    logging.getLogger("flora.actors.router").info("guild moved", extra={"guild_id": "7"})

    assert capfd.readouterr().err.endswith("INFO  router: guild moved guild_id=7\n")


def test_given_what_json_does_not_know_when_told_then_it_is_told_as_text(root, capfd):
    configure_logging("flora=info", "router", "json")

    logging.getLogger("flora.actors.router").info("odd", extra={"what": {1: object}})

    assert json.loads(capfd.readouterr().err)["what"] == {"1": "<class 'object'>"}


@pytest.mark.parametrize("log_format", ["json", "pretty"])
def test_given_a_fact_of_a_trace_when_told_then_its_line_has_the_trace_and_the_next_has_none(root, capfd, log_format):
    configure_logging("flora=info", "router", log_format)
    log = logging.getLogger("flora.actors.router")

    with working_on(TraceContext(trace_id="ab" * 16)):
        log.info("of the trace")
        log.info("of another one", extra={"trace_id": "cd" * 16})
    log.info("of none")

    first, second, third = capfd.readouterr().err.splitlines()
    assert "abab" in first
    assert "cdcd" in second
    assert "abab" not in second
    assert "trace_id" not in third
