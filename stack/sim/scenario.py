"""Worlds written down: a scenario in TOML, read and built.

    title = "A megabyte over a lossy path"
    limit = "60s"                               # give up after that (default: an hour)

    [hosts.client]                              # addresses, mtu, max_payload, tcp (fields of TcpOptions): all optional
    [hosts.server]
    tcp = { profile = "linux", congestion = "newreno" }     # profile: what the others are by default (docs/profiles.md)

    routers = ["near", "far"]                   # at the top, before the tables, where there are any

    [[pipes]]                                   # both directions; `back` says what is different on the way back
    between = ["client", "server"]
    rate = "10mbit"
    delay = "20ms"
    loss = "1%"
    back = { loss = "0%" }

    [[flows]]                                   # a connection, or `count` of them, `every` so often
    from = "client"
    to = "server"
    client = { app = "bulk", size = "1MB" }
    server = { app = "sink" }
    start = "1s"

    [[changes]]                                 # one direction changes
    at = "3s"
    pipe = "client>server"
    loss = "100%"

The properties of a pipe are those of `stack.path.config`, the applications those of `stack.sim.apps`. Whatever is wrong
is a `ScenarioError` that says where. A scenario is over when both ends of all its flows are done.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

from stack.path import quantities
from stack.path.config import from_mapping
from stack.sim.apps import KINDS, App
from stack.sim.errors import NotDone
from stack.sim.nodes import Node, SimHost
from stack.sim.world import World
from stack.tcp.config import TcpOptions
from stack.tcp.profiles import profile
from stack.wire.units import MS, SECOND, Duration, Time

DEFAULT_LIMIT: Duration = 3600 * SECOND
DEFAULT_PORT = 80

#: What an application can be told, with the reader and the default of each value; None: it must be given.
APPS: dict[str, dict[str, tuple[str, Any]]] = {
    "bulk": {"size": ("size", None)},
    "sink": {},
    "echo": {},
    "request": {"size": ("size", None), "reply": ("size", None), "count": ("count", 1), "pause": ("duration", 0)},
    "respond": {"size": ("size", None), "reply": ("size", None)},
    "slow-reader": {"size": ("size", 4096), "pause": ("duration", 10 * MS)},
    "on-off": {"size": ("size", None), "pause": ("duration", SECOND), "count": ("count", 10)},
}


class ScenarioError(ValueError):
    """A scenario can't be read; the message says where and why."""


class Scenario:
    """A world that was built, and when it is over: by default when every application is done, and all have begun."""

    def __init__(self, world: World, *, title: str = "", limit: Duration = DEFAULT_LIMIT) -> None:
        self.world = world
        self.title = title
        self.limit = limit
        self.is_over: Callable[[], object] = self._all_done
        self.to_come = 0  #: flows that have not begun yet
        self._unfinished: App | None = None  # somebody who was not done when last looked at

    def run(self) -> bool:
        """Run it to its end; whether that came before the limit."""
        try:
            self.world.run_until(self.is_over, self.limit)
        except NotDone:
            return False
        return True

    def _all_done(self) -> bool:
        if self.to_come or (self._unfinished is not None and not self._unfinished.is_done):
            return False
        apps = [app for host in self.world.hosts for app in host.apps]
        self._unfinished = next((app for app in apps if not app.is_done), None)
        return bool(apps) and self._unfinished is None


def load(text: str, *, seed: int | None = None) -> Scenario:
    """Build the scenario that a TOML document describes, with its own seed or another one."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"not TOML: {error}") from None
    reader = _Reader(table, "")
    title = reader.text("title", "")
    reader.text("description", "")
    own_seed = reader.take("seed", int, 0)
    limit = reader.duration("limit", DEFAULT_LIMIT)
    scenario = Scenario(World(own_seed if seed is None else seed), title=title, limit=limit)
    _build(scenario, reader)
    reader.finish()
    return scenario


def _build(scenario: Scenario, reader: _Reader) -> None:
    world = scenario.world
    for name, host in reader.tables("hosts"):
        _add_host(world, name, host)
    for name in reader.take("routers", list, []):
        _at(reader.place("routers"), world.router, str(name))
    pipes = {}
    for pipe in reader.list_of_tables("pipes"):
        for conduit in _add_pipe(world, pipe):
            pipes[conduit.name] = conduit
    if not pipes:
        raise ScenarioError("there are no pipes: nothing joins the hosts")
    for index, flow in enumerate(reader.list_of_tables("flows")):
        _add_flow(scenario, flow, index)
    if not scenario.to_come:
        raise ScenarioError("there are no flows: nothing would happen")
    for change in reader.list_of_tables("changes"):
        time = change.duration("at", None)
        name = change.text("pipe", None)
        if name not in pipes:
            raise ScenarioError(f"{change.place('pipe')}: there is no pipe {name!r}; there is {', '.join(pipes)}")
        properties = change.rest()
        _at(change.where, pipes[name].pipe.config.replace, **properties)
        world.at(time, partial(world.reconfigure, pipes[name], **properties))


def _add_host(world: World, name: str, reader: _Reader) -> None:
    addresses = reader.take("addresses", list, [])
    mtu = reader.take("mtu", int, 1500)
    max_payload = reader.take("max_payload", int, 0)
    options = _options(reader, "tcp")
    reader.finish()
    _at(reader.where, world.host, name, *map(str, addresses), mtu=mtu, max_payload=max_payload, options=options)


def _add_pipe(world: World, reader: _Reader) -> tuple[Any, Any]:
    between = reader.take("between", list, None)
    if len(between) != 2:
        raise ScenarioError(f"{reader.place('between')}: {between!r} are not two names")
    left, right = (_node(world, reader.place("between"), name) for name in between)
    silent = reader.take("silent", bool, False)
    back = reader.take("back", dict, {})
    forth = _at(reader.where, from_mapping, reader.rest())
    other = _at(reader.place("back"), from_mapping, {**reader.rest(), **back})
    return _at(reader.where, world.pipe, left, right, forth, back=other, silent=silent)


def _add_flow(scenario: Scenario, reader: _Reader, index: int) -> None:
    world = scenario.world
    client = _host(world, reader, "from")
    server = _host(world, reader, "to")
    port = reader.take("port", int, DEFAULT_PORT + index)
    v6 = reader.take("ipv6", bool, False)
    count = reader.take("count", int, 1)
    start = reader.duration("start", 0)
    every = reader.duration("every", 0)
    options = _options(reader, "tcp")
    ours = _app(reader, "client", {"app": "bulk", "size": "1MB"})
    theirs = _app(reader, "server", {"app": "sink"})
    reader.finish()
    _at(reader.where, server.address, v6=v6)

    def connect() -> None:
        scenario.to_come -= 1
        client.connect(server, port, ours(), v6=v6, options=options)

    _at(reader.where, server.serve, port, theirs)
    for number in range(count):
        scenario.to_come += 1
        world.at(start + number * every, connect)


def _app(reader: _Reader, key: str, default: dict[str, Any]) -> Callable[[], App]:
    """What makes an application such as `{ app = "bulk", size = "1MB" }`."""
    table = _Reader(reader.take(key, dict, default), reader.place(key))
    name = table.text("app", None)
    if name not in APPS:
        raise ScenarioError(f"{table.place('app')}: there is no application {name!r}; there is {', '.join(APPS)}")
    arguments = {}
    for parameter, (kind, fallback) in APPS[name].items():
        if kind == "duration":
            arguments[parameter] = table.duration(parameter, fallback)
        elif kind == "size":
            arguments[parameter] = table.size(parameter, fallback)
        else:
            arguments[parameter] = table.take(parameter, int, fallback)
    table.finish()
    return lambda: KINDS[name](**arguments)


def _options(reader: _Reader, key: str) -> TcpOptions | None:
    table = reader.take(key, dict, {})
    if not table:
        return None
    known = ["profile", *(field.name for field in dataclasses.fields(TcpOptions) if field.name != "habits")]
    for name in table:
        if name not in known:
            raise ScenarioError(f"{reader.place(key)}: there is no option {name!r}; there is {', '.join(known)}")
    chosen = dict(table)
    start = _at(reader.place(key), profile, str(chosen.pop("profile"))) if "profile" in chosen else TcpOptions()
    return _at(reader.place(key), start.replace, **chosen)


def _node(world: World, place: str, name: object) -> Node:
    if not isinstance(name, str) or name not in world.nodes:
        raise ScenarioError(f"{place}: there is no {name!r}; there is {', '.join(world.nodes)}")
    return world.nodes[name]


def _host(world: World, reader: _Reader, key: str) -> SimHost:
    node = _node(world, reader.place(key), reader.text(key, None))
    if not isinstance(node, SimHost):
        raise ScenarioError(f"{reader.place(key)}: {node.name} is a router")
    return node


T = TypeVar("T")


def _at(place: str, action: Callable[..., T], *arguments: Any, **more: Any) -> T:
    """Call something; what is wrong with its values is said with the place."""
    try:
        return action(*arguments, **more)
    except ScenarioError:
        raise
    except (ValueError, TypeError, OSError) as error:
        raise ScenarioError(f"{place}: {error}") from None


class _Reader:
    """A table of which every value is taken once, and nothing may be left."""

    def __init__(self, table: Mapping[str, Any], where: str) -> None:
        self._table = dict(table)
        self.where = where

    def place(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def take(self, key: str, kind: type[T], default: T | None) -> T:
        """The value of a key; without a default it must be there."""
        if key not in self._table:
            if default is None:
                raise ScenarioError(f"{self.where}: {key} is missing")
            return default
        value = self._table.pop(key)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ScenarioError(f"{self.place(key)}: {value!r} is not {_KIND_NAMES[kind]}")
        return value

    def text(self, key: str, default: str | None) -> str:
        return self.take(key, str, default)

    def duration(self, key: str, default: Time | None) -> Duration:
        if key not in self._table and default is not None:
            return default
        text = self.text(key, None)
        return _at(self.place(key), quantities.duration, text)

    def size(self, key: str, default: int | None) -> int:
        if key not in self._table and default is not None:
            return default
        value = self.take(key, object, None)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return value
        return _at(self.place(key), quantities.size, str(value))

    def tables(self, key: str) -> list[tuple[str, _Reader]]:
        """The tables under a key, by name."""
        found = []
        for name, table in self.take(key, dict, {}).items():
            if not isinstance(table, dict):
                raise ScenarioError(f"{self.place(key)}.{name} is not a table")
            found.append((name, _Reader(table, f"{self.place(key)}.{name}")))
        return found

    def list_of_tables(self, key: str) -> list[_Reader]:
        """The tables of a list, which are counted from 1."""
        found = []
        for number, table in enumerate(self.take(key, list, []), start=1):
            if not isinstance(table, dict):
                raise ScenarioError(f"{self.place(key)} is not a list of tables: write [[{key}]]")
            found.append(_Reader(table, f"{self.place(key)} {number}"))
        return found

    def rest(self) -> dict[str, Any]:
        """Everything that was not taken."""
        return self._table

    def finish(self) -> None:
        """Refuse what nobody has taken: most likely it is misspelt."""
        for key in self._table:
            raise ScenarioError(f"{self.place(key)} means nothing here")


_KIND_NAMES: dict[type, str] = {
    str: "text",
    int: "a whole number",
    list: "a list",
    dict: "a table",
    bool: "true or false",
}
