"""However the launcher ends, nothing of ours is left."""

from __future__ import annotations

import signal
import time

import pytest

pytestmark = [pytest.mark.service, pytest.mark.fault, pytest.mark.timeout(60)]


def test_given_ctrl_c_while_a_script_spins_then_nothing_is_left_after_five_seconds(make_flora, wait_for):
    flora = make_flora().start()
    guild = flora.new_guild()
    guild.deploy(
        "on('messageCreate', async (msg) => { if (msg.author.bot) return; await msg.reply('x'); while (true) {} })"
    )
    assert guild.ask("spin") == "x"
    began_s = time.monotonic()

    assert flora.stop(signal.SIGINT, within_s=5.0) == 0

    left_s = 5.0 - (time.monotonic() - began_s)
    wait_for(lambda: not flora.processes(), max(0.0, left_s), f"left behind: {flora.processes()}")
    assert len(flora.stdout_lines()) == 1


def test_given_the_launcher_is_killed_then_nothing_is_left_after_ten_seconds(make_flora, wait_for):
    flora = make_flora().start()
    assert len(flora.processes()) > 10

    flora.launcher.kill()

    wait_for(lambda: not flora.processes(), 10.0, "processes left behind")


def test_given_a_signal_while_booting_then_it_ends_cleanly(make_flora, wait_for):
    flora = make_flora()
    flora.spawn()
    wait_for(lambda: "booting: worker 0" in flora.stderr(), 30.0, "it never began to boot")

    assert flora.stop(signal.SIGTERM) == 0

    wait_for(lambda: not flora.processes(), 5.0, "processes left behind")
    assert flora.stdout_lines() == []


def test_given_a_second_flora_on_the_same_data_then_it_refuses_and_the_first_goes_on(make_flora):
    first = make_flora().start()
    guild = first.new_guild()
    second = make_flora({"FLORA_DATA_DIR": str(first.folder / "data")})
    second.spawn()

    assert second.ended(20) == 1

    assert "Traceback" not in second.stderr()
    assert second.stdout_lines() == []
    assert guild.ask("!ping") == "Pong!"
