"""The command line of the server: how flags are read and what the help says."""

import argparse
import dataclasses
import sys
from importlib import metadata
from typing import Any

from serving.model_server.flags import NO_EFFECT, ServerConfig


def parse_command_line(argv: list[str]) -> ServerConfig:
    """Returns the config of a command line; exits with a message if it is invalid.

    Unknown flags are reported and ignored, as in the C++ server.
    """
    parser = create_parser()
    values, unknown = parser.parse_known_args(argv)
    for argument in unknown:
        print(f"unknown argument: {argument}", file=sys.stderr)
    try:
        return ServerConfig(**vars(values))
    except ValueError as error:
        parser.error(str(error))


def create_parser() -> argparse.ArgumentParser:
    """Returns the parser, with its flags in groups."""
    parser = argparse.ArgumentParser(
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
    kind: Any = type(field.default)
    options: dict[str, Any] = {"default": field.default, "type": kind}
    if field.metadata["group"] == NO_EFFECT:
        options["help"] = f"{field.metadata['why']}."
    else:
        default = "" if field.default == "" else f" Default: {_shown(field.default)}."
        options["help"] = field.metadata["help"] + default
    if kind is bool:
        options |= {"type": _boolean, "nargs": "?", "const": True, "metavar": "BOOL"}
    else:
        is_seconds = field.name.endswith("_seconds")
        options |= {
            "type": float if is_seconds else kind,
            "metavar": "TEXT" if kind is str else "SECONDS" if is_seconds else "N",
        }
    options["help"] = options["help"].replace("%", "%%")
    return options


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "1"):
        return True
    if text.lower() in ("false", "0"):
        return False
    raise argparse.ArgumentTypeError(f"expected true or false, got {text}")
