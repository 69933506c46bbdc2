"""Lazy imports for the names of a package's public API: a name imports its module on first use (PEP 562)."""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

from lima.errors import LimaError


class MissingExtra(LimaError, ImportError):
    """A name needs a package of an optional dependency group that is not installed."""


def lazy_names(package: str, names: Mapping[str, Sequence[str]], *, extra: str) -> Callable[[str], object]:
    """Return the `__getattr__` of a package.

    Args:
        package: The package's `__name__`.
        names: The public names by the module of the package that defines them.
        extra: The optional dependencies of the distribution that the modules need, for the error.
    """

    modules = {name: module for module, defined in names.items() for name in defined}

    def attribute(name: str) -> object:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            module = import_module(f"{package}.{modules[name]}")
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] == "lima":
                raise
            raise MissingExtra(
                f"{package}.{name} needs the package {error.name!r}, which is not installed; "
                f"install the optional dependencies: pip install 'lima[{extra}]'"
            ) from error
        return getattr(module, name)

    return attribute
