"""Where the deployer has scripts compiled and loaded."""

from __future__ import annotations

from flora.actors.compile_cache import Script
from flora.actors.peer_calls import PeerCalls
from flora.actors.placement_book import PlacementBook
from flora.actors.secret_service import SecretService
from flora.messages.base import Request
from flora.messages.deployment import Compile, Compiled, LoadGuild, ScriptStored, UnloadGuild
from flora.messages.errors import TimedOut
from flora.messages.ids import GuildId, ReqId

COMPILE_LIMIT_S = 60.0  # the compiler has limits of its own; this one covers a line of large projects before ours
UNLOAD_LIMIT_S = 30.0
ROUTERS_ASKED = 3

NO_ID = ReqId("")  # the bridge gives every request its own


class PeerHost:
    """`ScriptHost` on the compiler and the router. Lives on the loop."""

    def __init__(
        self,
        compiler: PeerCalls,
        router: PeerCalls,
        placements: PlacementBook,
        secrets: SecretService,
        load_limit_s: float,
    ) -> None:
        self._compiler = compiler
        self._router = router
        self._placements = placements
        self._secrets = secrets
        self._load_limit_s = load_limit_s

    async def compile(self, guild_id: GuildId, script: Script) -> Compiled:
        request = Compile(
            req_id=NO_ID,
            guild_id=guild_id,
            entry=script.entry,
            files=script.files,
            bundle=script.bundle,
            source_map=script.source_map,
        )
        compiled: Compiled = await self._compiler.ask(request, COMPILE_LIMIT_S)
        return compiled

    async def load(self, guild_id: GuildId, compiled: Compiled, *, restore: bool) -> None:
        loaded_with = await self._secrets.for_load(guild_id)
        request = LoadGuild(
            req_id=NO_ID,
            guild_id=guild_id,
            script=compiled.script,
            source_map=compiled.source_map,
            restore=restore,
            placement=self._placements.of(guild_id),
            secrets=loaded_with.secrets,
        )
        try:
            await self._ask_any_router(request, self._load_limit_s)
        finally:
            self._secrets.loaded(guild_id, loaded_with)

    def stored(self, guild_id: GuildId) -> None:
        self._router.tell(ScriptStored(guild_id=guild_id))

    async def unload(self, guild_id: GuildId) -> None:
        await self._ask_any_router(UnloadGuild(req_id=NO_ID, guild_id=guild_id), UNLOAD_LIMIT_S)

    async def _ask_any_router(self, request: Request, limit_s: float) -> None:
        """The next router is asked when one is killed meanwhile. Workers give up what the dead one had them load: the last load wins."""
        for _ in range(ROUTERS_ASKED - 1):
            try:
                await self._router.ask(request, limit_s)
            except TimedOut as exc:
                if "peer" not in exc.details:
                    raise
            else:
                return
        await self._router.ask(request, limit_s)
