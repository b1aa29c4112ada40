"""What a script sees of its guild's secrets: placeholders, at any time, the newest ones."""

from __future__ import annotations

import pytest

from flora.messages.dispatch import Outcome

pytestmark = pytest.mark.service

TELLS = """
const early = secrets.get('KEY')
on('messageCreate', async (c) => {
  if (c.msg.content === 'spin') for (;;) ;
  await c.reply(JSON.stringify([early, secrets.get('KEY'), secrets.get('toString'), typeof secrets.get('OTHER')]))
})
"""


def test_given_placeholders_when_a_script_loads_and_runs_then_it_has_them_and_what_is_unknown_is_null(bench):
    b = bench()
    assert b.deploy(TELLS, placeholders={"KEY": "one"}).error is None

    b.send(1, "?")
    b.until_done(1)

    assert b.bodies() == ['["one","one",null,"object"]']


def test_given_new_placeholders_when_the_next_event_comes_then_it_sees_them_without_a_restart(bench):
    b = bench()
    b.deploy(TELLS, placeholders={"KEY": "one"})

    b.sessions[1].give_placeholders({"KEY": "two", "OTHER": "x"})
    b.send(1, "?")
    b.until_done(1)
    b.sessions[1].give_placeholders({})
    b.send(2, "?")
    b.until_done(1, 2)

    assert b.bodies() == ['["one","two",null,"string"]', '["one",null,null,"object"]']
    assert b.rebuilt == 0


def test_given_new_placeholders_when_the_isolate_is_made_anew_then_it_starts_with_them(bench):
    b = bench()
    b.deploy(TELLS, placeholders={"KEY": "one"})
    b.sessions[1].give_placeholders({"KEY": "two"})

    b.sessions[1].end_for_memory("for this test")
    b.send(1, "?")
    b.until_done(1)

    assert b.done == {1: Outcome.OK}
    assert b.rebuilt == 1
    assert b.bodies() == ['["two","two",null,"object"]']
