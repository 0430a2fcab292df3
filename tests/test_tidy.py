"""The house style as a test: sizes, docstrings, determinism, who may import what, and no sleeping tests.

Each rule reads one parsed file and names its violations; one test runs a rule over the whole tree, another
shows that the rule bites on a planted violation. What formatters, ruff, mypy and import-linter hold is not
repeated here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PACKAGES = ("primitives", "consensus", "crosslink", "shards", "node", "testnet")
LOGIC_PACKAGES = ("primitives", "consensus", "crosslink", "shards")
CODE_FOLDERS = (*PACKAGES, "benchmarks", "tests")
TEXT_SUFFIXES = (".py", ".md", ".toml", ".sh", ".html")

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 70

VAGUE_NAMES = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
# Spelt in halves, so that this file passes its own rule.
UNFINISHED = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b")

CHANCE_AND_CLOCK_MODULES = {"time", "random", "secrets", "datetime", "uuid"}
CLOCK_READINGS = {
    "time": {
        "time",
        "time_ns",
        "monotonic",
        "monotonic_ns",
        "perf_counter",
        "perf_counter_ns",
        "process_time",
        "process_time_ns",
        "localtime",
        "gmtime",
    },
    "trio": {"current_time"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}
# A test on a mocked clock sleeps in no time at all.
VIRTUAL_CLOCK_FIXTURES = {"autojump_clock", "mock_clock"}

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Source:
    """A Python file: its path below the root with forward slashes, its text and its syntax tree."""

    path: str
    text: str
    tree: ast.Module

    @property
    def folder(self) -> str:
        """The first part of the path: the package."""
        return self.path.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Violation:
    """Where a rule is broken and how."""

    path: str
    line: int
    complaint: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.complaint}"


Rule = Callable[[Source], Iterator[Violation]]


def read_sources() -> list[Source]:
    sources = []
    for folder in CODE_FOLDERS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            text = file.read_text()
            sources.append(Source(file.relative_to(ROOT).as_posix(), text, ast.parse(text, str(file))))
    return sources


def find_imports(source: Source) -> Iterator[tuple[int, str]]:
    """Line and first module name of every absolute import, wherever in the file it stands."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.lineno, node.module.partition(".")[0]


def check_file_size(source: Source) -> Iterator[Violation]:
    lines = source.text.count("\n")
    if source.folder in PACKAGES and lines > MAX_FILE_LINES:
        yield Violation(source.path, lines, f"{lines} lines, {MAX_FILE_LINES} at most")


def check_function_size(source: Source) -> Iterator[Violation]:
    for node in ast.walk(source.tree):
        if isinstance(node, FunctionNode) and node.end_lineno is not None:
            lines = node.end_lineno - node.lineno + 1
            if lines > MAX_FUNCTION_LINES:
                complaint = f"{node.name} has {lines} lines, {MAX_FUNCTION_LINES} at most"
                yield Violation(source.path, node.lineno, complaint)


def check_module_docstring(source: Source) -> Iterator[Violation]:
    if not ast.get_docstring(source.tree):
        yield Violation(source.path, 1, "no module docstring")


def check_module_name(source: Source) -> Iterator[Violation]:
    for name in source.path.removesuffix(".py").split("/"):
        if name in VAGUE_NAMES:
            yield Violation(source.path, 1, f"the name {name} says nothing; name the noun that lives here")


def check_arithmetic(source: Source) -> Iterator[Violation]:
    """No floats, no true division and no salted hash() where replicas must agree."""
    if source.folder not in LOGIC_PACKAGES:
        return
    for node in ast.walk(source.tree):
        match node:
            case ast.Name(id="float", lineno=line):
                yield Violation(source.path, line, "float; quantities are integers")
            case ast.Constant(value=float() as value, lineno=line):
                yield Violation(source.path, line, f"the float {value}; quantities are integers")
            case ast.BinOp(op=ast.Div(), lineno=line) | ast.AugAssign(op=ast.Div(), lineno=line):
                yield Violation(source.path, line, "/; divide with a named rounding direction")
            case ast.Call(func=ast.Name(id="hash"), lineno=line):
                yield Violation(source.path, line, "hash() differs between processes; use primitives.hashing")
            case _:
                pass


def check_synchrony(source: Source) -> Iterator[Violation]:
    """Logic is sans-IO: no coroutine in the logic packages and in the replica."""
    if source.folder not in LOGIC_PACKAGES and source.path != "node/replica.py":
        return
    kinds = (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await)
    for node in ast.walk(source.tree):
        if isinstance(node, kinds) or (isinstance(node, ast.comprehension) and node.is_async):
            line = node.target.lineno if isinstance(node, ast.comprehension) else node.lineno
            yield Violation(source.path, line, "async; protocol logic is synchronous")


def check_determinism(source: Source) -> Iterator[Violation]:
    if source.folder not in LOGIC_PACKAGES:
        return
    for line, module in find_imports(source):
        if module in CHANCE_AND_CLOCK_MODULES:
            yield Violation(source.path, line, f"imports {module}; time and chance come in as events")


def check_transport_import(source: Source) -> Iterator[Violation]:
    if source.folder not in PACKAGES or source.path.startswith("node/transport"):
        return
    for line, module in find_imports(source):
        if module == "libp2p" and source.path != "node/identity.py":
            yield Violation(source.path, line, "imports libp2p; only node/transport* and node/identity.py do")


def check_store_import(source: Source) -> Iterator[Violation]:
    if source.folder not in PACKAGES or source.path == "node/leveldb.py":
        return
    for line, module in find_imports(source):
        if module == "plyvel":
            yield Violation(source.path, line, "imports plyvel; only node/leveldb.py does")


def check_clock(source: Source) -> Iterator[Violation]:
    """Only ``node/clock.py`` reads a clock; everybody else is handed one, so that tests can turn it."""
    if source.folder not in ("node", "testnet") or source.path == "node/clock.py":
        return
    for node in ast.walk(source.tree):
        match node:
            case ast.Attribute(value=ast.Name(id=module), attr=name, lineno=line):
                pass
            case ast.Attribute(value=ast.Attribute(attr=module), attr=name, lineno=line):
                pass
            case ast.ImportFrom(module=str(module), names=names, lineno=line):
                for alias in names:
                    if module != "datetime" and alias.name in CLOCK_READINGS.get(module, ()):
                        yield Violation(source.path, line, f"{module}.{alias.name}; read node.clock")
                continue
            case _:
                continue
        if name in CLOCK_READINGS.get(module, ()):
            yield Violation(source.path, line, f"{module}.{name}; read node.clock")


def check_sleeps(source: Source) -> Iterator[Violation]:
    """A test waits for a condition with a deadline; only the poll inside a ``wait_…`` function sleeps."""
    if source.folder == "tests":
        yield from find_sleeps(source.path, source.tree)


def find_sleeps(path: str, node: ast.AST) -> Iterator[Violation]:
    if isinstance(node, FunctionNode) and may_sleep(node):
        return
    match node:
        case ast.Call(func=ast.Attribute(value=ast.Name(id="trio"), attr="sleep"), args=[ast.Constant(value=0)]):
            pass
        case ast.Call(
            func=ast.Attribute(
                value=ast.Name(id="time" | "trio" | "asyncio" | "anyio"), attr="sleep" | "sleep_until"
            ),
            lineno=line,
        ):
            yield Violation(path, line, "a test sleeps; wait for a condition in a wait_… function")
        case ast.ImportFrom(module="time" | "trio" | "asyncio" | "anyio", names=names, lineno=line):
            if any(alias.name.startswith("sleep") for alias in names):
                yield Violation(path, line, "imports a sleep by name, which hides it from this rule")
        case _:
            pass
    for child in ast.iter_child_nodes(node):
        yield from find_sleeps(path, child)


def may_sleep(function: FunctionNode) -> bool:
    """True for polls named ``wait_…`` and for whatever runs on a mocked clock."""
    arguments = [*function.args.args, *function.args.kwonlyargs]
    on_virtual_time = any(argument.arg in VIRTUAL_CLOCK_FIXTURES for argument in arguments)
    return on_virtual_time or function.name.lstrip("_").startswith("wait_")


RULES: tuple[Rule, ...] = (
    check_file_size,
    check_function_size,
    check_module_docstring,
    check_module_name,
    check_arithmetic,
    check_synchrony,
    check_determinism,
    check_transport_import,
    check_store_import,
    check_clock,
    check_sleeps,
)


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    return read_sources()


def fail_with(violations: list[Violation]) -> None:
    if violations:
        pytest.fail("\n".join(str(violation) for violation in violations), pytrace=False)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__.removeprefix("check_"))
def test_the_tree_keeps_the_rule(rule: Rule, sources: list[Source]) -> None:
    assert {source.folder for source in sources} >= {*PACKAGES, "tests"}
    fail_with([violation for source in sources for violation in rule(source)])


def test_nothing_is_marked_as_unfinished() -> None:
    violations = []
    for folder in (*CODE_FOLDERS, "docs", ".ci"):
        files = (file for file in sorted((ROOT / folder).rglob("*")) if file.suffix in TEXT_SUFFIXES)
        for file in files:
            for number, line in enumerate(file.read_text().splitlines(), start=1):
                if UNFINISHED.search(line):
                    path = file.relative_to(ROOT).as_posix()
                    violations.append(Violation(path, number, "marked as unfinished; finish it or leave it out"))
    fail_with(violations)


LONG_FUNCTION = "def long() -> None:\n" + "    pass\n" * MAX_FUNCTION_LINES

PLANTED: tuple[tuple[Rule, str, str], ...] = (
    (check_file_size, "node/long.py", "pass\n" * (MAX_FILE_LINES + 1)),
    (check_function_size, "tests/test_long.py", LONG_FUNCTION),
    (check_module_docstring, "node/bare.py", "import trio\n"),
    (check_module_name, "node/utils.py", ""),
    (check_module_name, "testnet/common/topology.py", ""),
    (check_arithmetic, "shards/fee.py", "fee = amount / 2"),
    (check_arithmetic, "shards/fee.py", "amount /= 2"),
    (check_arithmetic, "shards/fee.py", "fee = float(amount)"),
    (check_arithmetic, "shards/fee.py", "fee = 0.5"),
    (check_arithmetic, "consensus/tally.py", "order = hash(key)"),
    (check_synchrony, "consensus/engine.py", "async def decide(): ..."),
    (check_synchrony, "node/replica.py", "async def handle(): await send()"),
    (check_synchrony, "crosslink/inbox.py", "async def walk():\n    return [x async for x in stream]"),
    (check_determinism, "consensus/pacemaker.py", "def jitter():\n    import random"),
    (check_determinism, "shards/oracle.py", "from time import monotonic"),
    (check_transport_import, "node/rpc.py", "from libp2p.peer.id import ID"),
    (check_store_import, "node/store.py", "import plyvel"),
    (check_clock, "node/runtime.py", "started = time.monotonic()"),
    (check_clock, "node/runtime.py", "read = trio.current_time"),
    (check_clock, "testnet/report.py", "from time import perf_counter"),
    (check_clock, "testnet/report.py", "day = datetime.datetime.now()"),
    (check_sleeps, "tests/test_slow.py", "def test_slow():\n    time.sleep(1)"),
    (check_sleeps, "tests/test_slow.py", "async def test_slow():\n    await trio.sleep(1)"),
    (check_sleeps, "tests/test_slow.py", "from trio import sleep"),
)

ALLOWED: tuple[tuple[Rule, str, str], ...] = (
    (check_arithmetic, "shards/fee.py", "fee = amount // 2"),
    (check_arithmetic, "testnet/report.py", "mean = total / 2.0"),
    (check_arithmetic, "shards/order.py", "class Order:\n    def __hash__(self): ...\n    hash: bytes"),
    (check_synchrony, "node/runtime.py", "async def pump(): ..."),
    (check_transport_import, "node/transport_frames.py", "import libp2p"),
    (check_transport_import, "node/identity.py", "import libp2p"),
    (check_transport_import, "tests/node/test_hostile_peer.py", "import libp2p"),
    (check_store_import, "node/leveldb.py", "import plyvel"),
    (check_clock, "node/clock.py", "now = time.monotonic()"),
    (check_clock, "node/runtime.py", "now = self.clock.now()"),
    (check_sleeps, "tests/conftest.py", "async def wait_until(met):\n    await trio.sleep(0.01)"),
    (check_sleeps, "tests/test_pump.py", "async def test_pump(autojump_clock):\n    await trio.sleep(5)"),
    (check_sleeps, "tests/test_pump.py", "async def test_pump():\n    await trio.sleep_forever()"),
)


def parse_planted(path: str, text: str) -> Source:
    return Source(path, text, ast.parse(text))


@pytest.mark.parametrize(("rule", "path", "text"), PLANTED)
def test_each_rule_bites(rule: Rule, path: str, text: str) -> None:
    assert list(rule(parse_planted(path, text)))


@pytest.mark.parametrize(("rule", "path", "text"), ALLOWED)
def test_each_rule_lets_good_code_pass(rule: Rule, path: str, text: str) -> None:
    assert not list(rule(parse_planted(path, text)))
