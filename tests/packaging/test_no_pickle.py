"""No code of ours reads what could run code: no pickle in any form, no unsafe YAML, no shell."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(
    path for package in ("nas_service", "api", "workers", "migrations") for path in (ROOT / package).rglob("*.py")
)
FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "jsonpickle"}
FORBIDDEN_CALLS = {
    "torch.load",
    "torch.save",
    "torch.jit.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "yaml.load_all",
    "pd.read_pickle",
    "os.system",
    "eval",
    "exec",
}
FORBIDDEN_ARGUMENTS = {("allow_pickle", True), ("weights_only", False), ("shell", True)}


def faults(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names if name.name.split(".")[0] in FORBIDDEN_MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in FORBIDDEN_MODULES:
            yield str(node.module)
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in FORBIDDEN_CALLS:
                yield called
            for argument in node.keywords:
                if (
                    isinstance(argument.value, ast.Constant)
                    and (argument.arg, argument.value.value) in FORBIDDEN_ARGUMENTS
                ):
                    yield f"{called}({argument.arg}={argument.value.value})"
            if called == "np.load" and not any(argument.arg == "allow_pickle" for argument in node.keywords):
                yield "np.load without allow_pickle=False"
            if called == "yaml.load" and not any(
                "Loader" in ast.unparse(given) for given in [*node.args, *node.keywords]
            ):
                yield "yaml.load without a safe loader"


def test_nothing_of_ours_can_be_made_to_run_what_it_reads() -> None:
    found = [f"{path.relative_to(ROOT)}: {fault}" for path in FILES for fault in faults(ast.parse(path.read_text()))]
    assert len(FILES) > 50
    assert found == []


def test_the_loader_of_search_files_is_the_safe_one() -> None:
    import yaml

    from nas_service.cli.searches import _Loader

    assert issubclass(_Loader, yaml.SafeLoader)


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text)",
        "run(command, shell=True)",
        "eval(text)",
    ],
)
def test_what_could_is_found(code: str) -> None:
    assert list(faults(ast.parse(code)))
