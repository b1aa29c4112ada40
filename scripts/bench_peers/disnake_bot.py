"""A plain disnake bot, as its documentation would have it written; the benchmark measures flora beside it.

Reads DISCORD_TOKEN and DISCORD_API_BASE. Prints `ready` once it is connected. Nothing in here knows of flora.
"""

from __future__ import annotations

import os

import disnake
from disnake.http import Route

Route.BASE = os.environ["DISCORD_API_BASE"]

intents = disnake.Intents.default()
intents.message_content = True
client = disnake.Client(intents=intents)
seen: dict[int, int] = {}


@client.event
async def on_ready() -> None:
    print("ready", flush=True)


@client.event
async def on_message(message: disnake.Message) -> None:
    if message.author.bot or message.guild is None:
        return
    if message.content == "!ping":
        await message.reply("Pong!")
    elif message.content == "!seen":
        await message.reply(str(seen.pop(message.guild.id, 0)))
    else:
        seen[message.guild.id] = seen.get(message.guild.id, 0) + 1


client.run(os.environ["DISCORD_TOKEN"])
