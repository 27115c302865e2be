"""The URL of a metadata server, and how its password stays secret.

The URL comes from a file or from the environment, because every user of the machine can see a
command line (`ps`), and it stays in the shell's history.
"""

import dataclasses
import os
import re
import urllib.parse
from pathlib import Path

ENVIRONMENT_VARIABLE = "CIFAR_METADATA_URL"
FORM = "mysql://USER:PASSWORD@HOST:PORT/DATABASE or postgresql://…"
DEFAULT_PORTS = {"mysql": 3306, "postgresql": 5432}
# The password ends at the last @, so it may contain `:`, `@` and `/`.
PATTERN = re.compile(
    r"(?P<scheme>[a-z0-9+.-]+)://"
    r"((?P<user>[^:]*?)(:(?P<password>.*))?@)?"
    r"(?P<host>[^:/@\[\]]+|\[[0-9a-fA-F:.]+\])(:(?P<port>\d+))?/(?P<database>[^/?#@]+)",
    re.DOTALL,
)


@dataclasses.dataclass(frozen=True)
class Server:
    """A database server, with the credentials."""

    kind: str  # mysql (MariaDB too) or postgresql
    host: str
    port: int
    database: str
    user: str
    password: str = dataclasses.field(repr=False)


def parse(url: str) -> Server:
    """Returns the server that a `metadata_url` names.

    Raises:
        ValueError: It is not such a URL with a host and a database. The message contains no
            part of the URL except its scheme.
    """
    scheme = url.partition("://")[0] if "://" in url else ""
    found = PATTERN.fullmatch(url)
    if not found or scheme not in DEFAULT_PORTS:
        raise ValueError(
            f"metadata_url must be {FORM}, got "
            f"{f'{scheme}://…' if scheme.isalnum() else 'another text'}"
            f"{'' if found else ' without a host, a whole-number port or a database'}."
        )
    return Server(
        scheme,
        host=found["host"].strip("[]"),
        port=int(found["port"] or DEFAULT_PORTS[scheme]),
        database=found["database"],
        user=urllib.parse.unquote(found["user"] or ""),
        password=urllib.parse.unquote(found["password"] or ""),
    )


def redacted(url: str) -> str:
    """Returns a URL without its password, to be shown."""
    scheme, separator, rest = url.partition("://") if "://" in url else ("", "", url)
    credentials, at, place = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    return f"{scheme}{separator}{user}{':…' if colon else ''}{at}{place.partition('?')[0]}"


def check_has_no_password(url: str) -> None:
    """Raises ValueError for a URL with a password, which must not be on a command line."""
    if redacted(url) != url:
        raise ValueError(
            "metadata_url contains a password, and every user of this machine can see a "
            f"command line. Put the URL into the environment variable {ENVIRONMENT_VARIABLE}, "
            "or into a file and name it with --metadata-url-file."
        )


def read(file: Path | None) -> str:
    """Returns the URL in a file, else in the environment, else an empty string.

    Raises:
        ValueError: The file cannot be read, or is empty.
    """
    if file is None:
        return os.environ.get(ENVIRONMENT_VARIABLE, "").strip()
    try:
        url = file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} cannot be read ({error}); expected {FORM}.") from error
    if not url:
        raise ValueError(f"{file} is empty; expected {FORM}.")
    return url
