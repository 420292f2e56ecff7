"""The rules of the house that a machine can check, each a function from sources to its violations."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

HEAVY = {"torch", "transformers", "peft", "accelerate", "datasets", "matplotlib", "gradio"}
PEFT_IMPORTERS = {"model/lora", "model/lora_linear"}
MODULE_LINES = 300
FUNCTION_LINES = 60
LONGER_FUNCTIONS = {("training/loop", "train"): 80}


@dataclass(frozen=True)
class Source:
    """A parsed file; `name` is its path below the package (or the repository) without `.py`."""

    name: str
    text: str

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)


# --- what a module imports ---------------------------------------------------------------------------------------


def _imported_names(node: ast.AST) -> Iterator[str]:
    """Yield dotted names; `from a import b` gives both `a` and `a.b`, since b may be a module."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield node.module or ""
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _at_import_time(tree: ast.Module) -> Iterator[ast.AST]:
    """Walk what runs when the module is imported: no function bodies, no `if TYPE_CHECKING`."""
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        yield node
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            pending.extend(node.orelse)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            pending.extend(ast.iter_child_nodes(node))


def _own(names: Iterator[str], layers: dict[str, int]) -> set[str]:
    """Keep this package's modules, as paths."""
    paths = (name.removeprefix("alpaca_lora.").replace(".", "/") for name in names if name.startswith("alpaca_lora."))
    return {path for path in paths if path in layers}


def _names(nodes: Iterator[ast.AST]) -> Iterator[str]:
    return (name for node in nodes for name in _imported_names(node))


# --- the rules: each gives its violations ------------------------------------------------------------------------


def upward_imports(sources: list[Source], layers: dict[str, int]) -> list[str]:
    found = []
    for source in sources:
        if source.name not in layers:
            found.append(f"{source.name} is not in the layer table")
            continue
        for other in sorted(_own(_names(ast.walk(source.tree)), layers)):
            if layers[other] > layers[source.name]:
                found.append(f"{source.name} (layer {layers[source.name]}) imports {other} (layer {layers[other]})")
    return found


def import_cycles(sources: list[Source], layers: dict[str, int]) -> list[str]:
    imports = {source.name: _own(_names(ast.walk(source.tree)), layers) for source in sources}
    found: list[str] = []
    finished: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            found.append(" -> ".join((*path[path.index(name) :], name)))
        elif name not in finished:
            for other in sorted(imports.get(name, ())):
                visit(other, (*path, name))
            finished.add(name)

    for name in imports:
        visit(name, ())
    return found


def heavy_imports(sources: list[Source], layers: dict[str, int], light: set[str]) -> list[str]:
    """Follow imports made at import time from each light module; none may reach a heavy library."""
    trees = {source.name: source.tree for source in sources}
    found = []
    for start in sorted(light & trees.keys()):
        pending, seen = [start], set[str]()
        while pending:
            name = pending.pop()
            if name in seen or name not in trees:
                continue
            seen.add(name)
            imported = set(_names(_at_import_time(trees[name])))
            heavy = sorted({full.split(".")[0] for full in imported} & HEAVY)
            found += [f"importing {start} imports {library}, in {name}" for library in heavy]
            pending.extend(_own(iter(imported), layers))
    return found


def peft_imports(sources: list[Source]) -> list[str]:
    return [
        source.name
        for source in sources
        if source.name not in PEFT_IMPORTERS
        and any(name.split(".")[0] == "peft" for name in _names(ast.walk(source.tree)))
    ]


def too_long(sources: list[Source]) -> list[str]:
    found = []
    for source in sources:
        lines = source.text.count("\n")
        if lines > MODULE_LINES:
            found.append(f"{source.name} has {lines} lines, over {MODULE_LINES}")
        for node in ast.walk(source.tree):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                limit = LONGER_FUNCTIONS.get((source.name.removeprefix("alpaca_lora/"), node.name), FUNCTION_LINES)
                if length > limit:
                    found.append(f"{source.name}:{node.lineno} {node.name} has {length} lines, over {limit}")
    return found


def undocumented(sources: list[Source]) -> list[str]:
    found = []
    for source in sources:
        tree = source.tree
        if not ast.get_docstring(tree):
            found.append(f"{source.name} has no docstring")
        for node in tree.body:
            is_public = isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_")
            if is_public and not ast.get_docstring(node):
                found.append(f"{source.name}:{node.lineno} {node.name} has no docstring")
    return found


def forbidden_calls(sources: list[Source]) -> list[str]:
    """Find `exec`, `eval`, star imports, and `torch.load` that could run what is in the file."""
    found = []
    for source in sources:
        for node in ast.walk(source.tree):
            if isinstance(node, ast.ImportFrom) and any(alias.name == "*" for alias in node.names):
                found.append(f"{source.name}:{node.lineno} imports *")
            if isinstance(node, ast.Call):
                call = ast.unparse(node.func)
                safe = any(key.arg == "weights_only" and ast.unparse(key.value) == "True" for key in node.keywords)
                if call in ("exec", "eval", "pickle.load", "pickle.loads") or (call == "torch.load" and not safe):
                    found.append(f"{source.name}:{node.lineno} calls {call}")
    return found
