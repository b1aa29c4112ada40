"""What a newcomer does in the first minutes: chat with the starter bot, deploy something of their own, read its log."""

from __future__ import annotations

import json

import pytest

pytestmark = [pytest.mark.service, pytest.mark.slow, pytest.mark.timeout(60)]

SEED_EXAMPLE = "on('messageCreate', async (msg) => { await msg.reply('Hello!') })"


def test_given_a_first_start_then_stdout_has_exactly_the_ready_line(flora):
    assert flora.stdout_lines() == [f"flora is ready on {flora.url}"]
    assert flora.url.startswith("http://127.0.0.1:")


def test_given_the_starter_bot_when_pinged_then_it_answers(flora):
    assert flora.first_guild().ask("!ping") == "Pong!"


def test_given_the_starter_bot_when_its_slash_command_is_used_then_it_answers(flora):
    guild = flora.new_guild()

    used = {"name": "hello", "options": {"name": "world"}, "wait_s": 10}
    answer = flora.sim("POST", f"/sim/guilds/{guild.id}/interactions/command", used)

    assert answer["message"]["content"] == "Hello, world!"


def test_given_the_example_of_the_front_page_when_deployed_as_written_then_it_answers(flora):
    guild = flora.new_guild()

    guild.deploy(SEED_EXAMPLE)

    assert guild.ask("anything") == "Hello!"
    guild.deploy("on('messageCreate', async () => {})")  # the example answers its own answers too, as long as it runs


def test_given_a_project_of_two_files_when_deployed_from_the_command_line_then_the_answer_changes(flora, tmp_path):
    guild = flora.new_guild()
    assert guild.ask("!ping") == "Pong!"
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "answer.ts").write_text("export const answer = (n: number): string => `pong number ${n}`\n")
    (tmp_path / "src" / "main.ts").write_text(
        "import { answer } from './answer'\n"
        "let count = 0\n"
        "createBot({ prefix: '!', commands: [prefix({ name: 'ping', run: (ctx) => ctx.reply(answer(++count)) })] })\n"
    )

    deployed = flora.cli("deploy", "--guild", guild.id, "--json", cwd=tmp_path)

    assert deployed.returncode == 0, deployed.stderr
    assert json.loads(deployed.stdout)["guild_id"] == guild.id
    assert [guild.ask("!ping"), guild.ask("!ping")] == ["pong number 1", "pong number 2"]


def test_given_a_syntax_error_when_deployed_then_it_is_refused_with_its_place_and_the_old_bot_answers(flora, tmp_path):
    guild = flora.new_guild()
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "main.ts").write_text("const fine = 1\nconst broken = = 2\n")

    refused = flora.cli("deploy", "--guild", guild.id, cwd=tmp_path)

    assert refused.returncode == 1
    assert "src/main.ts:2:16" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert guild.ask("!ping") == "Pong!"


def test_given_a_script_that_prints_when_its_log_is_read_then_the_line_is_there(flora):
    guild = flora.new_guild()
    guild.deploy("on('messageCreate', async (msg) => { console.log('heard', { text: msg.content }, 2) })")

    guild.say("knock knock")

    line = guild.log_line("heard")
    assert (line["level"], line["target"], line["guild_id"]) == ("info", "flora:js", guild.id)
    assert line["message"] == 'heard {"text":"knock knock"} 2'
    shown = flora.cli("logs", "--guild", guild.id)
    assert shown.returncode == 0
    assert 'flora:js: heard {"text":"knock knock"} 2' in shown.stdout


def test_given_a_button_when_pressed_then_its_handler_answers(flora):
    guild = flora.new_guild()
    guild.deploy("""
        on('messageCreate', async (msg) => {
            if (msg.author.bot) return
            const button = { type: 2, style: 1, label: 'Press', custom_id: 'press' }
            await msg.reply({ content: 'here', components: [{ type: 1, components: [button] }] })
        })
        on('componentInteraction', async (ctx) => { await ctx.reply('pressed') })
    """)
    asked = guild.say("button, please")
    guild.reply_to(asked)
    message = guild.messages(asked)[-1]

    press = {"message_id": message["id"], "custom_id": "press", "wait_s": 10}
    answer = flora.sim("POST", f"/sim/guilds/{guild.id}/interactions/component", press)

    assert answer["message"]["content"] == "pressed"
