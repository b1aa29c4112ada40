"""`kill -9` between two steps of a deploy, a rollback, an undeploy: in the end the guild runs what is stored.

Steps are held from outside: a lock in the database lets nobody go past it. tests/actors/test_deploy_crashes.py goes through every step.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest

from flora.scripts.cli.tokens import _embedded_url

pytestmark = [pytest.mark.service, pytest.mark.fault, pytest.mark.timeout(60)]

WITHIN_S = 25.0
SAYS = "on('messageCreate', async (msg) => { if (!msg.author.bot) await msg.reply('%s') })"
COMMIT_LOCK = 4711
HOLDS = {
    "before it loads": "LOCK TABLE deployments IN ACCESS EXCLUSIVE MODE",
    # Reading is possible, writing is not.
    "after it loaded": "LOCK TABLE deployment_revisions, deployments IN SHARE MODE",
    "while it commits": f"SELECT pg_advisory_xact_lock({COMMIT_LOCK})",
}
WAIT_AT_COMMIT = f"""
CREATE FUNCTION wait_at_commit() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_xact_lock({COMMIT_LOCK}); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER wait_at_commit AFTER INSERT OR UPDATE OR DELETE ON deployments
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_at_commit();
"""


@pytest.fixture
def hold(broken_flora, wait_for) -> Iterator[Callable]:
    """A block in which flora's database goes no further than one of HOLDS; `hold.waiting(n)` returns when so many wait there."""
    url = _embedded_url(broken_flora.folder / "data")

    def waiting(count: int) -> None:
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'flora' AND wait_event_type = 'Lock'"
        with psycopg.connect(url, autocommit=True) as connection:
            wait_for(
                lambda: connection.execute(query).fetchone() == (count,), WITHIN_S, f"not {count} wait for the lock"
            )

    @contextmanager
    def held(where: str) -> Iterator[psycopg.Connection]:
        connection = psycopg.connect(url)
        try:
            connection.execute(HOLDS[where])
            yield connection
        finally:
            connection.close()

    held.waiting = waiting
    with psycopg.connect(url) as connection:
        connection.execute(WAIT_AT_COMMIT)
    yield held
    with psycopg.connect(url) as connection:
        connection.execute("DROP FUNCTION wait_at_commit CASCADE")


def actions_of_three_guilds(flora) -> tuple[list, list[Callable[[], object]]]:
    """Guilds that run "old", and what is to happen to each: a deploy of "new", a rollback to "first", an undeploy."""
    guilds = flora.new_guilds([None, None, None])
    deploying, rolling, leaving = guilds
    first = rolling.deploy(SAYS % "first") and flora.api("GET", f"/deployments/{rolling.id}/history?limit=1")[0]["id"]
    for guild in guilds:
        guild.deploy(SAYS % "old")
    return guilds, [
        lambda: deploying.deploy(SAYS % "new"),
        lambda: flora.api("POST", f"/deployments/{rolling.id}/rollback/{first}"),
        lambda: flora.api("DELETE", f"/deployments/{leaving.id}"),
    ]


def stored(guild, refused) -> str:
    """The guild's stored script; "" while there is no deployer."""
    try:
        return str(guild.flora.api("GET", f"/deployments/{guild.id}?include_bundle=true")["bundle"])
    except refused:
        return ""


def has_script(guild, refused) -> bool:
    """Whether the router knows a script of the guild."""
    try:
        guild.flora.api("GET", f"/guilds/{guild.id}/status")
    except refused as answer:
        return answer.status != 404
    return True


def settles(flora, guild, refused, wait_for, says: str | None) -> None:
    """What is stored is what runs: the script that says this, or nothing."""
    if says is None:
        wait_for(lambda: not has_script(guild, refused), WITHIN_S, "its script still runs")
        with pytest.raises(refused) as caught:
            flora.api("GET", f"/deployments/{guild.id}")
        assert caught.value.status == 404
        return
    wait_for(lambda: stored(guild, refused), WITHIN_S, "nobody tells what is stored")
    assert stored(guild, refused) == SAYS % says
    wait_for(lambda: guild.ask_until_answered("which", within_s=WITHIN_S) == says, WITHIN_S, f"it never says {says}")
    assert guild.ask("which", within_s=WITHIN_S) == says


@pytest.mark.scenario("T21")
@pytest.mark.parametrize("where", HOLDS)
def test_given_a_deployer_killed_between_two_steps_then_what_is_stored_runs_in_the_end(
    broken_flora, hold, refused, wait_for, where
):
    guilds, actions = actions_of_three_guilds(broken_flora)
    committed = where == "while it commits"
    with ThreadPoolExecutor(3) as pool:
        with hold(where) as connection:
            answers: list[Future] = [pool.submit(action) for action in actions]
            hold.waiting(3)
            pid = broken_flora.pid("deployer")
            os.kill(pid, signal.SIGSTOP if committed else signal.SIGKILL)
            if committed:  # the database does what it was told; nobody is there to hear that it did
                connection.rollback()
                hold.waiting(0)
                os.kill(pid, signal.SIGKILL)
        for answer in answers:
            assert answer.exception(WITHIN_S).status == 503

    for guild, says in zip(guilds, ("new", "first", None) if committed else ("old", "old", "old"), strict=True):
        settles(broken_flora, guild, refused, wait_for, says)


def test_given_a_postgres_killed_while_it_commits_then_each_ends_definitely_and_what_is_stored_runs(
    broken_flora, hold, refused, wait_for
):
    guilds, actions = actions_of_three_guilds(broken_flora)
    with ThreadPoolExecutor(3) as pool, hold("while it commits"):
        answers = [pool.submit(action) for action in actions]
        hold.waiting(3)
        killed = broken_flora.server_pid("postgres")
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: broken_flora.has_server("postgres", other_than=killed), WITHIN_S, "no postgres")

        assert [answer.exception(WITHIN_S).status >= 500 for answer in answers] == [True] * 3

    for guild in guilds:
        settles(broken_flora, guild, refused, wait_for, "old")


def test_given_a_worker_killed_between_load_and_store_then_the_deploy_succeeds_and_the_new_script_runs(
    broken_flora, hold, refused, wait_for
):
    guild = broken_flora.new_guild()
    guild.deploy(SAYS % "old")
    with ThreadPoolExecutor(1) as pool:
        with hold("after it loaded"):
            deploying = pool.submit(guild.deploy, SAYS % "new")
            hold.waiting(1)
            broken_flora.kill(f"worker {broken_flora.api('GET', f'/guilds/{guild.id}/status')['worker']}")
        assert deploying.result(WITHIN_S)["guild_id"] == guild.id

    settles(broken_flora, guild, refused, wait_for, "new")
