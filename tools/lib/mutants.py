"""Small faults to put into Python source: the operators of `tools/mutate`.

A mutant is a module with one node of its syntax tree replaced, the kind of slip that a programmer makes: a boundary off
by one, a condition turned round, an assignment forgotten. What cannot change behaviour is left alone: annotations,
docstrings and other strings, `__slots__`, imports, what is written for type checkers only. So are assignments in
`__init__`: without one the first reader meets an AttributeError, and such easy prey would only flatter the figures.

    compare      <  <=    >  >=    ==  !=    is  is not    in  not in         min, max swapped
    arithmetic   +  -     *  //    <<  >>    &  |          % becomes //, ** becomes *
    logic        and, or swapped; `not` and unary minus removed; a condition negated
    constant     an int or float plus one, a bool turned round
    drop         a call whose result nobody wants, an assignment to an attribute or an item, `+=`, `del`, `raise`, a
                 bare `return`; `continue` and `break` swapped

A dropped statement stays in the tree under `if False`, so that the scopes of the names in it do not change, and the
code of a function that was made already can be replaced by the mutant's.
"""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

LEAST = 3  #: Mutants of each file, however small, in a sample.

SWAPS: dict[type[ast.AST], type[ast.AST]] = {
    one: other
    for pair in (
        (ast.Lt, ast.LtE),
        (ast.Gt, ast.GtE),
        (ast.Eq, ast.NotEq),
        (ast.Is, ast.IsNot),
        (ast.In, ast.NotIn),
        (ast.Add, ast.Sub),
        (ast.Mult, ast.FloorDiv),
        (ast.LShift, ast.RShift),
        (ast.BitAnd, ast.BitOr),
        (ast.And, ast.Or),
        (ast.Break, ast.Continue),
    )
    for one, other in (pair, pair[::-1])
} | {ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.Div: ast.Mult}
EQUALITIES = (ast.Eq, ast.NotEq, ast.Is, ast.IsNot, ast.In, ast.NotIn)  # swapping one of these negates it
CALLS = {"min": "max", "max": "min"}
SILENT_FIELDS = ("annotation", "returns", "decorator_list", "type_params")
SILENT_NAMES = ("__slots__", "__all__", "TYPE_CHECKING")


class Point(NamedTuple):
    """A place where a tree can be changed, and how. `import_time`: what it changes runs when the module is imported."""

    parent: ast.AST
    field: str
    place: int  # in a list of children, or -1
    old: ast.AST
    new: ast.AST
    operator: str
    statement: ast.stmt
    import_time: bool
    function: str

    def apply(self) -> None:
        place = self.old if hasattr(self.old, "lineno") else self.statement
        for made in ast.walk(self.new):
            if not hasattr(made, "lineno"):
                ast.copy_location(made, place)
        if self.place < 0:
            setattr(self.parent, self.field, self.new)
        else:
            getattr(self.parent, self.field)[self.place] = self.new

    def lines(self) -> range:
        """Of the statement; of its head where others are inside."""
        body = getattr(self.statement, "body", None)
        last = body[0].lineno - 1 if body else self.statement.end_lineno or self.statement.lineno
        return range(self.statement.lineno, max(last, self.statement.lineno) + 1)

    def text(self) -> tuple[str, str]:
        """Before and after, as source, for people."""
        if self.operator == "drop":
            return ast.unparse(self.old), "nothing"
        parts = [getattr(node, "test", node) for node in (self.old, self.new)]
        if isinstance(self.old, ast.comprehension):
            parts = [node.ifs[0] for node in (self.old, self.new) if isinstance(node, ast.comprehension)]
        before, after = (ast.unparse(part) for part in parts)
        return before, after


def points(tree: ast.Module) -> list[Point]:
    """All mutants of a module, in the order of its text."""
    return list(_walk(tree, tree.body[0], True, ""))


def _walk(parent: ast.AST, statement: ast.stmt, import_time: bool, function: str) -> Iterator[Point]:
    for field, value in ast.iter_fields(parent):
        if field in SILENT_FIELDS:
            continue
        is_list = isinstance(value, list)
        is_function = field == "body" and isinstance(parent, ast.FunctionDef | ast.Lambda)
        for index, node in enumerate(value if is_list else [value]):
            if not isinstance(node, ast.AST) or _is_silent(node):
                continue
            inner = node if isinstance(node, ast.stmt) else statement
            name = f"{function}.{node.name}" if isinstance(node, ast.FunctionDef | ast.ClassDef) else function
            early = import_time and not is_function
            for operator, new in _changes(node):
                if operator == "drop" and function.endswith("__init__") and isinstance(node, ast.Assign):
                    continue
                place = index if is_list else -1
                yield Point(parent, field, place, node, new, operator, inner, early, function.lstrip("."))
            if not _is_sentinel(node):
                yield from _walk(node, inner, early, name)


def _is_silent(node: ast.AST) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant()):
            return True
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.If(test=ast.Name(id=name)):
            return name in SILENT_NAMES
        case _:
            return False


def _is_sentinel(node: ast.AST) -> bool:
    """-1, which stands for "none": -2 would stand for the same. (1 would not, and is tried.)"""
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant)


def _changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    match node:
        case ast.Compare():
            for index, op in enumerate(node.ops):
                if type(op) in SWAPS:
                    ops = [*node.ops[:index], SWAPS[type(op)](), *node.ops[index + 1 :]]
                    yield "compare", _with(node, ops=ops)
        case ast.BinOp(op=op) | ast.BoolOp(op=op) if type(op) in SWAPS:
            yield "logic" if isinstance(node, ast.BoolOp) else "arithmetic", _with(node, op=SWAPS[type(op)]())
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield "logic", node.operand
        case ast.Call(func=ast.Name(id=name)) if name in CALLS:
            yield "compare", _with(node, func=ast.Name(CALLS[name], ast.Load()))
        case ast.Constant(value=bool() as value):
            yield "constant", ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield "constant", ast.Constant(value + 1)
        case ast.If() | ast.While() | ast.IfExp() if not _negates_anyway(node.test):
            yield "logic", _with(node, test=ast.UnaryOp(ast.Not(), node.test))
        case ast.comprehension(ifs=[test]) if not _negates_anyway(test):
            yield "logic", _with(node, ifs=[ast.UnaryOp(ast.Not(), test)])
        case ast.Break() | ast.Continue():
            yield "drop", SWAPS[type(node)]()
    yield from _drops(node)


def _drops(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    match node:
        case ast.AugAssign(op=op):
            if type(op) in SWAPS:
                yield "arithmetic", _with(node, op=SWAPS[type(op)]())
        case ast.Expr(value=ast.Call()) | ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]):
            pass
        case ast.Raise() | ast.Delete() | ast.Return(value=None):
            pass
        case _:
            return
    if isinstance(node, ast.stmt):
        yield "drop", ast.If(ast.Constant(False), [node], [])


def _negates_anyway(test: ast.expr) -> bool:
    match test:
        case ast.UnaryOp(op=ast.Not()):
            return True
        case ast.Compare(ops=[op]):
            return isinstance(op, EQUALITIES)
        case _:
            return False


def _with(node: ast.AST, **fields: object) -> ast.AST:
    """A copy, some fields of it replaced."""
    made = copy.copy(node)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


# Mutants as data.


@dataclass(slots=True)
class Mutant:
    """One fault, and what became of it. `index` counts the points of the file, for `mutants.points`."""

    file: str
    index: int
    line: int
    function: str
    operator: str
    before: str
    after: str
    import_time: bool
    first: int
    last: int
    source: str
    outcome: str = ""
    by: str = ""
    tests: int = 0
    seconds: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.file}:{self.line} {self.function or '(module)'}: {self.before} -> {self.after}"


def mutants_of(root: Path, file: str) -> list[Mutant]:
    text = (root / file).read_text()
    lines = text.splitlines()
    return [_described(file, index, point, lines) for index, point in enumerate(points(ast.parse(text)))]


def _described(file: str, index: int, point: Point, text: list[str]) -> Mutant:
    before, after = point.text()
    lines = point.lines()
    line = getattr(point.old, "lineno", lines[0])
    source = text[line - 1].strip()
    where = (file, index, line, point.function, point.operator)
    return Mutant(*where, before, after, point.import_time, lines[0], lines[-1], source)


def mutated(root: Path, mutant: Mutant) -> ast.Module:
    tree = ast.parse((root / mutant.file).read_text())
    points(tree)[mutant.index].apply()
    return tree


def sample(everything: dict[str, list[Mutant]], size: int, seed: int) -> list[Mutant]:
    """`size` mutants, each file by its share but with `LEAST` at least, in random order; the same for the same seed."""
    total = sum(map(len, everything.values()))
    chosen: list[Mutant] = []
    for file, mutants in sorted(everything.items()):
        share = round(size * len(mutants) / total) if size else len(mutants)
        chosen += random.Random(f"{seed} {file}").sample(mutants, min(len(mutants), max(share, LEAST)))
    random.Random(seed).shuffle(chosen)
    return chosen
