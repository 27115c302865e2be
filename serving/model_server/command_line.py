"""The command line of the server: how flags are read and what the help says."""

import argparse
import dataclasses
import sys
from importlib import metadata
from typing import Any, NoReturn

from serving.model_server.flags import NO_EFFECT, ServerConfig
from serving.model_server.process import FAILURE

# The exit code of a server that cannot start: -1 in the C++ server's main.
FAILED = 255
_TYPES = {bool: "bool", int: "int32", float: "float", str: "string"}


class Parser(argparse.ArgumentParser):
    """A parser that ends as the C++ server does: with the usage and its exit code."""

    def error(self, message: str) -> NoReturn:
        """Exits after a flag with a wrong value."""
        self.exit(FAILED, f"{message}\n{usage()}")


def parse_command_line(argv: list[str]) -> ServerConfig:
    """Returns the config of a command line; exits with a message if it is invalid.

    Unknown flags are reported with the usage and then ignored, as in the C++ server.
    """
    parser = create_parser()
    values, unknown = parser.parse_known_args(argv)
    for argument in unknown:
        print(f"unknown argument: {argument}", file=sys.stderr)
    if unknown:
        print(usage(), end="", file=sys.stderr)
    try:
        return ServerConfig(**vars(values))
    except ValueError as error:
        parser.exit(FAILED, f"{FAILURE}{error}\n")


def usage() -> str:
    """Returns a line for each flag, with its default and type, laid out as in C++."""
    lines = ["usage: cifar serve", "Flags:"]
    for field in dataclasses.fields(ServerConfig):
        kind = _value_type(field)
        default = f'"{field.default}"' if kind is str else _shown(field.default)
        flag = f"--{field.name}={default}"
        lines.append(f"\t{flag:<33}\t{_TYPES[kind]}\t{_described(field)}")
    return "\n".join(lines) + "\n"


def create_parser() -> argparse.ArgumentParser:
    """Returns the parser, with its flags in groups."""
    parser = Parser(
        prog="cifar serve",
        usage="cifar serve [--output DIR] [--FLAG[=VALUE]]…",
        description="The flags of tensorflow_model_server 2.15.1, and what they do here.",
        allow_abbrev=False,
    )
    groups: dict[str, Any] = {}
    for field in dataclasses.fields(ServerConfig):
        title = field.metadata["group"]
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        groups[title].add_argument(f"--{field.name}", **_options(field))
    return parser


def help_text() -> str:
    """Returns the groups of flags, with defaults and reasons."""
    text = create_parser().format_help()
    first_group = next(iter(dataclasses.fields(ServerConfig))).metadata["group"]
    return text[text.index(first_group) :]


def versions() -> str:
    """Returns what --version prints."""
    return (
        "TensorFlow ModelServer: protocol of 2.15.1, served by cifar-estimator-pipeline "
        f"{metadata.version('cifar-estimator-pipeline')}\n"
        f"TensorFlow Library: {metadata.version('tensorflow')}"
    )


def _options(field: dataclasses.Field) -> dict[str, Any]:
    kind = _value_type(field)
    options: dict[str, Any] = {"default": field.default, "type": kind}
    has_default = field.default != "" and field.metadata["group"] != NO_EFFECT
    text = _described(field) + (f" Default: {_shown(field.default)}." if has_default else "")
    options["help"] = text.replace("%", "%%")
    if kind is bool:
        options |= {"type": _boolean, "nargs": "?", "const": True, "metavar": "BOOL"}
    else:
        is_seconds = field.name.endswith("_seconds")
        options["metavar"] = "TEXT" if kind is str else "SECONDS" if is_seconds else "N"
    return options


def _value_type(field: dataclasses.Field) -> Any:
    return float if field.name.endswith("_seconds") else type(field.default)


def _described(field: dataclasses.Field) -> str:
    return field.metadata["help"] or f"{field.metadata['why']}."


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "1"):
        return True
    if text.lower() in ("false", "0"):
        return False
    raise argparse.ArgumentTypeError(f"expected true or false, got {text}")
