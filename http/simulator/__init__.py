"""A simulated Discord: a real gateway and REST server to which Discord libraries connect as to Discord itself.

config      what can be set                     gateway/    sessions, websocket, who gets which event
world       guilds, channels, members, roles    rest/       one module per resource
posting     messages; reactions, interactions   control/    /sim/: what people do, for tests and the page
permissions, rate_limits, forms                 page/       the page where a person chats
snapshot    what survives a restart             running     serving it, here or as its own process
"""

from __future__ import annotations

from flora.http.simulator.app import create_app
from flora.http.simulator.config import DEFAULT_APPLICATION_ID, DEFAULT_TOKEN, SimulatorConfig
from flora.http.simulator.running import RunningSimulator

__all__ = ["DEFAULT_APPLICATION_ID", "DEFAULT_TOKEN", "RunningSimulator", "SimulatorConfig", "create_app"]
