"""Scenarios in TOML."""

from __future__ import annotations

import pytest

from stack.path.config import PathConfig
from stack.sim.scenario import APPS, ScenarioError, load
from stack.tcp.profiles import PROFILES
from stack.wire.units import MS, SECOND

HOSTS = "[hosts.a]\n[hosts.b]\n"
PIPE = '[[pipes]]\nbetween = ["a", "b"]\ndelay = "5ms"\n'
FLOW = '[[flows]]\nfrom = "a"\nto = "b"\nclient = { app = "bulk", size = "10kB" }\n'
WHOLE = HOSTS + PIPE + FLOW


def test_the_least() -> None:
    scenario = load(WHOLE)
    assert scenario.run()
    assert [(app.sent, app.received) for host in scenario.world.hosts for app in host.apps] == [
        (10_000, 0),
        (0, 10_000),
    ]
    assert (scenario.title, scenario.world.seed, scenario.limit) == ("", 0, 3600 * SECOND)


def test_the_example_of_the_docstring() -> None:
    text = (
        HOSTS.replace("a]", "client]").replace("b]", "server]\ntcp = { congestion = 'newreno' }")
        + '[[pipes]]\nbetween = ["client", "server"]\nrate = "10mbit"\ndelay = "20ms"\nloss = "1%"\n'
        + 'back = { loss = "0%" }\n'
        + '[[flows]]\nfrom = "client"\nto = "server"\nclient = { app = "bulk", size = "5MB" }\n'
        + 'server = { app = "sink" }\nstart = "1s"\n'
        + '[[changes]]\nat = "3s"\npipe = "client>server"\nloss = "100%"\n'
        + '[[changes]]\nat = "9s"\npipe = "client>server"\nloss = "0%"\n'
    )
    scenario = load('title = "A"\nlimit = "60s"\ndescription = "B"\nseed = 4\n' + text)
    forth, back = scenario.world.conduits
    assert back.pipe.config == forth.pipe.config.replace(loss=0.0)
    assert scenario.run()
    assert scenario.world.now > SECOND
    assert (scenario.title, scenario.world.seed, scenario.limit) == ("A", 4, 60 * SECOND)
    assert forth.pipe.config.loss in (1.0, 0.0)


def test_another_seed() -> None:
    assert load("seed = 4\n" + WHOLE, seed=9).world.seed == 9


def test_hosts_have_addresses_options_and_mtus() -> None:
    scenario = load(
        '[hosts.a]\naddresses = ["10.9.0.1/24", "fd09::1/64"]\nmtu = 9000\n'
        + "tcp = { nodelay = true, mss = 500 }\n[hosts.b]\n"
        + PIPE
        + FLOW
        + "ipv6 = true\n"
    )
    core = scenario.world.hosts[0].core
    assert core.addresses == ["10.9.0.1/24", "fd09::1/64"]
    assert (core.mtu, core.options.nodelay, core.options.mss) == (9000, True, 500)
    assert scenario.run()
    assert scenario.world.hosts[0].apps[0].report()["remote"] == "[fd00::2]:80"


def test_profile_is_where_the_options_of_a_host_begin() -> None:
    options = "tcp = { profile = 'freebsd', nodelay = true }\n"
    scenario = load(WHOLE.replace("[hosts.a]\n", "[hosts.a]\n" + options))
    assert scenario.world.hosts[0].core.options == PROFILES["freebsd"].replace(nodelay=True)
    assert scenario.run()


def test_routers_and_several_flows() -> None:
    scenario = load(
        'routers = ["r"]\n[hosts.a]\n[hosts.b]\n[hosts.c]\n'
        + '[[pipes]]\nbetween = ["a", "r"]\n[[pipes]]\nbetween = ["r", "b"]\n[[pipes]]\nbetween = ["r", "c"]\n'
        + '[[flows]]\nfrom = "a"\nto = "b"\ncount = 3\nevery = "10ms"\ntcp = { nodelay = true }\n'
        + 'client = { app = "request", size = 10, reply = "1kB", count = 2, pause = "1ms" }\n'
        + 'server = { app = "respond", size = 10, reply = "1kB" }\n'
        + '[[flows]]\nfrom = "c"\nto = "a"\nport = 8080\nstart = "50ms"\n'
    )
    assert scenario.to_come == 4
    assert scenario.run()
    starts = [app.started for app in scenario.world.hosts[0].apps]
    assert starts == sorted(starts)
    assert starts[:3] == [0, 10 * MS, 20 * MS]
    received = [app.received for app in scenario.world.hosts[0].apps]
    assert received == [2000, 2000, 2000, 1_000_000]
    assert scenario.world.hosts[2].apps[0].conn.remote[1] == 8080


def test_a_silent_path() -> None:
    assert load(HOSTS + PIPE + "silent = true\n" + FLOW).world.conduits[0].silent


def test_every_application_can_be_named() -> None:
    arguments = {"size": "100", "reply": "50", "count": 2, "pause": "1ms"}
    for client, server in (("bulk", "echo"), ("bulk", "slow-reader"), ("request", "respond"), ("on-off", "sink")):
        ends = []
        for name in (client, server):
            given = ", ".join(f"{key} = {value!r}" for key, value in arguments.items() if key in APPS[name])
            ends.append(f'{{ app = "{name}"{", " if given else ""}{given} }}')
        flow = f'[[flows]]\nfrom = "a"\nto = "b"\nclient = {ends[0]}\nserver = {ends[1]}\n'
        assert load(HOSTS + PIPE + flow).run()


def test_a_limit_that_is_too_short() -> None:
    assert not load('limit = "7ms"\n' + WHOLE).run()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x =", "not TOML"),
        (HOSTS + PIPE, "there are no flows"),
        (HOSTS + FLOW, "there are no pipes"),
        ("colour = 'red'\n" + WHOLE, "colour means nothing here"),
        ("seed = 'x'\n" + WHOLE, "seed: 'x' is not a whole number"),
        ("seed = true\n" + WHOLE, "seed: True is not a whole number"),
        ("limit = 60\n" + WHOLE, "limit: 60 is not text"),
        ("limit = '60'\n" + WHOLE, "limit: '60' has no unit"),
        (WHOLE.replace("[hosts.a]", "[hosts.a]\nmtu = 100"), "hosts.a: an MTU of 100"),
        (WHOLE.replace("[hosts.a]", "[hosts.a]\naddresses = ['x']"), "hosts.a: 'x' does not appear to be"),
        (WHOLE.replace("[hosts.a]", "[hosts.a]\ncolour = 1"), "hosts.a.colour means nothing here"),
        (WHOLE.replace("[hosts.a]", "[hosts.a]\ntcp = { ttl = 0 }"), "hosts.a.tcp: ttl must be between"),
        (WHOLE.replace("[hosts.a]", "[hosts.a]\ntcp = { speed = 0 }"), "hosts.a.tcp: there is no option 'speed'"),
        (WHOLE.replace("[hosts.a]", "[hosts.a]\ntcp = { habits = 0 }"), "hosts.a.tcp: there is no option 'habits'"),
        (WHOLE.replace("[hosts.a]", "[hosts.a]\ntcp = { profile = 'x' }"), "hosts.a.tcp: there is no profile 'x'"),
        (WHOLE.replace("[hosts.a]", "[hosts.a]\ntcp = { profile = 1 }"), "hosts.a.tcp: there is no profile '1'"),
        ("hosts = { a = 3 }\n" + PIPE + FLOW, "hosts.a is not a table"),
        ("routers = ['a']\n" + WHOLE, "routers: there is a a already"),
        (WHOLE.replace('["a", "b"]', '["a"]'), "pipes 1.between: .* are not two names"),
        (WHOLE.replace('["a", "b"]', '["a", "z"]'), "pipes 1.between: there is no 'z'; there is a, b"),
        (WHOLE.replace('"5ms"', "5"), "pipes 1: delay: 5 has no unit"),
        (WHOLE.replace('delay = "5ms"', 'back = { delay = "x" }'), "pipes 1.back: delay: 'x' is not a duration"),
        ("pipes = [1]\n" + HOSTS + FLOW, "pipes is not a list of tables"),
        (WHOLE + PIPE, "pipes 2: the host a has its one link already"),
        (WHOLE.replace('to = "b"\n', ""), "flows 1: to is missing"),
        (WHOLE.replace('to = "b"', 'to = "z"'), "flows 1.to: there is no 'z'"),
        ('routers = ["r"]\n' + WHOLE.replace('to = "b"', 'to = "r"'), "flows 1.to: r is a router"),
        (WHOLE.replace('"bulk"', '"bulky"'), "flows 1.client.app: there is no application 'bulky'"),
        (WHOLE.replace(', size = "10kB"', ""), "flows 1.client: size is missing"),
        (WHOLE.replace('"10kB"', '"much"'), "flows 1.client.size: 'much' is not a size"),
        (WHOLE.replace('"10kB"', "-3"), "flows 1.client.size: '-3' is not a size"),
        (WHOLE.replace('"10kB"', '"10kB", colour = 3'), "flows 1.client.colour means nothing here"),
        (WHOLE + "colour = 1\n", "flows 1.colour means nothing here"),
        (WHOLE + FLOW + "port = 80\n", "flows 2: .*80"),
        (WHOLE + "[[changes]]\nat = '1s'\npipe = 'a>z'\n", "changes 1.pipe: there is no pipe 'a>z'; there is a>b, b>a"),
        (WHOLE + "[[changes]]\nat = '1s'\npipe = 'a>b'\nloss = '3'\n", "changes 1: loss: '3' is more than 1"),
    ],
)
def test_errors_say_where(text: str, says: str) -> None:
    with pytest.raises(ScenarioError, match=says):
        load(text)


def test_a_change_keeps_everything_else() -> None:
    scenario = load(WHOLE + "[[changes]]\nat = '1s'\npipe = 'a>b'\nloss = '3%'\n")
    scenario.world.run_until("2s")
    assert scenario.world.conduits[0].pipe.config == PathConfig(delay=5 * MS, loss=0.03)
