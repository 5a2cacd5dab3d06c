"""
The words that the code can say, read out of its source: outcomes, events, replies, sentences.

A text with a part that is only known at run time has `*` in that part's place.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from attrs import define, field

from mailproxy.downstream.pop3 import POP3ServerFactory
from mailproxy.downstream.smtp import SMTPServerFactory

PACKAGE = Path(__file__).parents[2] / "mailproxy"
SESSIONS = ("session", "downstream")
"""The packages that decide what a session says and how it ends."""

Functions = (ast.FunctionDef, ast.AsyncFunctionDef)
WILD = "*"


@cache
def tree(path: Path) -> ast.Module:
    """The source of a module."""
    return ast.parse(path.read_text())


def trees(*parts: str) -> list[ast.Module]:
    """The modules of these packages, or modules, of ours; when none is named, of all that run in production."""
    roots = [path for part in parts for path in PACKAGE.glob(part)]
    roots = roots or [path for path in PACKAGE.iterdir() if path.name != "sandbox"]
    return [tree(path) for root in sorted(roots) for path in ([root] if root.is_file() else sorted(root.rglob("*.py")))]


def calls(nodes: Iterable[ast.AST]) -> Iterator[tuple[ast.Call, ast.AST]]:
    """Every call, and the innermost function or module around it."""
    for root in nodes:
        yield from _calls(root, root)


def _calls(node: ast.AST, around: ast.AST) -> Iterator[tuple[ast.Call, ast.AST]]:
    if isinstance(node, ast.Call):
        yield node, around
    inner = node if isinstance(node, Functions) else around
    for child in ast.iter_child_nodes(node):
        yield from _calls(child, inner)


def callee(call: ast.Call) -> str:
    """The last part of the name of what is called."""
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


@define
class Flow:
    """
    The constants that reach certain parameters, be it through other functions' parameters, local names or fields.

    `sinks` are names of functions and classes with the parameters in question.
    """

    nodes: list[ast.Module]
    sinks: set[tuple[str, str]]
    _signatures: dict[str, list[list[str]]] = field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        for root in self.nodes:
            for node in ast.walk(root):
                if isinstance(node, Functions):
                    names = [each.arg for each in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
                    self._signatures.setdefault(node.name, []).append([name for name in names if name != "self"])
                elif isinstance(node, ast.ClassDef):
                    fields = [each.target.id for each in node.body if isinstance(each, ast.AnnAssign)]
                    self._signatures.setdefault(node.name, []).append(fields)

    def constants(self) -> set[str]:
        """All of them."""
        found: set[str] = set()
        before = -1
        while before < len(self.sinks):
            before = len(self.sinks)
            for call, around in calls(self.nodes):
                for argument in self._arguments(call):
                    found |= self._follow(argument, around)
        return found

    def _arguments(self, call: ast.Call) -> Iterator[ast.expr]:
        """Those arguments of a call that end in a sink."""
        name = callee(call)
        for parameters in self._signatures.get(name, []):
            named = [*zip(parameters, call.args, strict=False), *((each.arg, each.value) for each in call.keywords)]
            yield from (value for parameter, value in named if (name, parameter) in self.sinks)

    def _follow(self, value: ast.expr, around: ast.AST) -> set[str]:
        """The constants in a value; a parameter of the function around it becomes a sink itself."""
        if isinstance(value, ast.Constant):
            return {value.value} if isinstance(value.value, str) else set()
        if isinstance(value, ast.Attribute):
            return set()  # a field: what is written into it, goes through a sink of its own
        if isinstance(value, ast.Name):
            if isinstance(around, Functions):
                self.sinks.add((around.name, value.id))
            inner = list(_assigned(value.id, around))
        else:
            inner = [child for child in ast.iter_child_nodes(value) if isinstance(child, ast.expr)]
        return set().union(*(self._follow(each, around) for each in inner))


def _assigned(name: str, around: ast.AST) -> Iterator[ast.expr]:
    """What a local name is set to."""
    for node in ast.walk(around) if isinstance(around, Functions) else ():
        if isinstance(node, ast.Assign) and any(
            isinstance(each, ast.Name) and each.id == name for each in node.targets
        ):
            yield node.value


def outcomes() -> set[str]:
    """The outcomes that the sessions write down themselves; those of errors stand in the errors' classes."""
    nodes = trees(*SESSIONS)
    sinks = {("CloseDownstream", "outcome"), ("AbortDownstream", "outcome"), ("ended", "outcome")}  # actions, the log
    for root in nodes:
        for node in ast.walk(root):
            if isinstance(node, (*Functions, ast.ClassDef)):
                sinks.add((node.name, "outcome"))  # where there is no such parameter or field, nothing reaches it
    return Flow([*nodes, *trees("observe")], sinks).constants()


def events() -> dict[str, set[str]]:
    """Every event that a session reports, with the names of its fields."""
    nodes = trees("session")
    found = {event: set() for event in Flow(nodes, {("Report", "event")}).constants()}
    for call, _ in calls(nodes):
        if callee(call) in {"report", "Report"} and isinstance(call.args[0], ast.Constant):
            found[call.args[0].value] |= {each.arg for each in call.keywords if each.arg}
            for each in call.args[1:]:
                assert isinstance(each, ast.Dict)
                found[call.args[0].value] |= {key.value for key in each.keys if isinstance(key, ast.Constant)}
    return found


def template(node: ast.AST, around: ast.AST) -> str:
    """A text with `*` for what is not known before run time."""
    if isinstance(node, ast.Constant):
        return node.value.decode("latin-1") if isinstance(node.value, bytes) else str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(template(each, around) for each in node.values)
    if isinstance(node, ast.Name):
        assigned = list(_assigned(node.id, around))
        if len(assigned) == 1:
            return template(assigned[0], around)
    return WILD


def normal(text: str) -> str:
    """The text with `*` for each `<placeholder>`, and one where several stand in a row; `<CR>` and `<LF>` are none."""
    return re.sub(r"\*+", WILD, re.sub(r"<(?!CR>|LF>)[^<>]*>", WILD, text)).strip()


def smtp_replies() -> set[str]:
    """Every reply of our own with a fixed code: `250 2.0.0 OK`."""
    found = {SMTPServerFactory.crowded.decode("ascii").rstrip()}
    for call, around in calls(trees(*SESSIONS, "wire/smtp.py")):
        if callee(call) in {"format_reply", "BadCommand"} and isinstance(call.args[0], ast.Constant):
            parts = [template(each, around) for each in call.args[:3]]
            found.add(normal(" ".join(filter(None, parts))))
    return found


def pop3_lines() -> set[str]:
    """Every line of our own, `+OK ready`, but for those about failures before the greeting."""
    found = {POP3ServerFactory.crowded.decode("ascii").rstrip()}
    for root in trees("session/pop3*.py", "downstream/pop3.py", "wire/pop3.py"):
        for node in ast.walk(root):
            if isinstance(node, ast.Constant) and isinstance(node.value, (bytes, str)):
                text = template(node, root)
                if re.fullmatch(r"(\+OK|-ERR)( \S.*)?(\r\n)?", text) and text not in {"+OK", "-ERR"}:
                    found.add(normal(text))
    return found


_LOGS = {"debug", "info", "warn", "error", "critical", "failure"}
"""What a Logger is told to do."""


def log_sentences() -> set[tuple[str, str]]:
    """The sentence of every line that is not a session's or a listener's own, with its namespace."""
    found = set()
    for root in trees():
        for call, around in calls([root]):
            target = getattr(call.func, "value", None)
            if callee(call) in _LOGS and isinstance(target, ast.Name) and target.id == "_log":
                (sentence,) = _plain_texts(call.args[0], around)
                found.add((sentence, _namespace(root)))
    return found


def _plain_texts(node: ast.AST, around: ast.AST) -> list[str]:
    """What a constant is, or the local name of one."""
    if isinstance(node, ast.Name):
        return [text for each in _assigned(node.id, around) for text in _plain_texts(each, around)]
    assert isinstance(node, ast.Constant), ast.dump(node)
    return [str(node.value)]


def _namespace(root: ast.Module) -> str:
    """That of a module's Logger."""
    (found,) = [
        keyword.value.value
        for node in root.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and callee(node.value) == "Logger"
        for keyword in node.value.keywords
        if keyword.arg == "namespace" and isinstance(keyword.value, ast.Constant)
    ]
    return str(found)


@cache
def sentences() -> frozenset[str]:
    """Every text in the code that may become one of the log's."""
    return frozenset(normal(re.sub(r"\{\w+\}", WILD, text)) for root in trees() for text in _texts(root))


def _texts(node: ast.AST) -> Iterator[str]:
    """The texts in a module that are no docstrings; one with parts is one text."""
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        yield template(node, node)
    elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        for child in ast.iter_child_nodes(node):
            yield from _texts(child)
