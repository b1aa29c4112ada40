from __future__ import annotations

from dataclasses import replace

import pytest

from flora.actors.compile_cache import CompileCache, Script
from flora.messages.deployment import Compiled, SourceFile
from flora.messages.errors import BundleFailed
from flora.messages.ids import GuildId

ONE, TWO = GuildId("1"), GuildId("2")


class Compiling:
    """Counts what was really compiled."""

    def __init__(self, script: str = "x") -> None:
        self.script = script
        self.calls = 0

    async def __call__(self, script: Script) -> Compiled:
        self.calls += 1
        return Compiled(script=f"{self.script}{self.calls}", source_map=None)


def a_script(*files: tuple[str, str], bundle: str | None = None, entry: str = "a") -> Script:
    sources = tuple(SourceFile(path=path, contents=contents) for path, contents in files) or None
    return Script(entry=entry, files=sources, bundle=bundle, source_map=None)


async def test_given_the_same_content_then_it_is_compiled_once_for_all_guilds() -> None:
    cache, compiling = CompileCache(), Compiling()

    first = await cache.get(ONE, a_script(("a", "1")), compiling)
    second = await cache.get(TWO, a_script(("a", "1")), compiling)

    assert first is second
    assert compiling.calls == 1


async def test_given_contents_that_only_look_alike_then_each_is_compiled() -> None:
    cache, compiling = CompileCache(), Compiling()
    alike = [
        a_script(("a", "b")),
        a_script(("ab", "")),
        a_script(("", "ab")),
        a_script(("a", ""), ("b", "")),
        a_script(bundle="ab"),
        a_script(bundle="ab", entry="b"),
        a_script(("a", "b"), bundle=""),
        replace(a_script(bundle="ab"), source_map=SourceFile(path="a", contents="b")),
        replace(a_script(bundle="ab"), files=()),
    ]

    for script in alike:
        await cache.get(ONE, script, compiling)

    assert compiling.calls == len(alike)


async def test_given_a_script_that_names_its_guild_then_no_other_guild_gets_it() -> None:
    cache, compiling = CompileCache(), Compiling('const url = "file:///guild/1/a.ts" //')

    first = await cache.get(ONE, a_script(("a", "1")), compiling)
    assert await cache.get(ONE, a_script(("a", "1")), compiling) is first

    assert await cache.get(TWO, a_script(("a", "1")), compiling) is not first


async def test_given_a_full_cache_then_what_was_not_used_for_longest_goes_first() -> None:
    cache, compiling = CompileCache(max_chars=5), Compiling()  # each result has 2 characters
    old, used, new = (a_script(("a", text)) for text in "123")
    await cache.get(ONE, old, compiling)
    await cache.get(ONE, used, compiling)
    await cache.get(ONE, old, compiling)

    await cache.get(ONE, new, compiling)

    await cache.get(ONE, old, compiling)
    assert compiling.calls == 3
    await cache.get(ONE, used, compiling)
    assert compiling.calls == 4


async def test_given_a_failure_then_it_is_tried_again() -> None:
    cache, compiling = CompileCache(), Compiling()

    async def fails(_: Script) -> Compiled:
        raise BundleFailed("no")

    with pytest.raises(BundleFailed):
        await cache.get(ONE, a_script(bundle="1"), fails)

    await cache.get(ONE, a_script(bundle="1"), compiling)
    assert compiling.calls == 1
