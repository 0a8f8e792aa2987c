"""What must not leave this machine with a run: words that look like secrets, and files that hold them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath
from urllib.parse import urlsplit, urlunsplit

__all__ = ["is_secret_file", "mask_command", "mask_text", "without_credentials"]

MASK = "***"

_NAMES = re.compile(
    r"pass(word|wd|phrase)?$|passw|secret|(^|[-_])(token|tok)$|[a-z]Token$|api[-_]?key|access[-_]?key|private[-_]?key|credential|"
    r"(^|[-_])(auth|pwd|pw|key|dsn|bearer)$",
    re.IGNORECASE,
)
_SHAPES = re.compile(
    r"AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{20,}|hf_[A-Za-z0-9]{20,}|"
    r"sk-[\w-]{20,}|xox[abprs]-[\w-]{10,}|AIza[\w-]{35}|eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]*"
)
_IN_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://)([^\s/@]*)@")
_QUERY = re.compile(r"([?&](?:[^=&\s]*(?:token|key|secret|password|signature|sig)[^=&\s]*)=)[^&\s]+", re.IGNORECASE)
_SECRET_FILE = re.compile(
    r"\.env(\..+)?|.*\.env|.*\.(pem|key|pfx|p12|jks|keystore|kdbx|ppk|asc|gpg|p8)|id_(rsa|dsa|ecdsa|ed25519).*|"
    r"\.?(netrc|pgpass|npmrc|pypirc|htpasswd|git-credentials|dockercfg|boto|s3cfg|databrickscfg)|"
    r"credentials?(\..+)?|.*secrets?\.(ya?ml|json|toml|ini|txt|env)|.*service[-_]account.*\.json|kaggle\.json|"
    r"client_secret.*\.json|kubeconfig|.*\.tfstate(\..+)?|.*\.tfvars",
    re.IGNORECASE,
)
_SECRET_FOLDERS = frozenset({".ssh", ".aws", ".gnupg", ".kube", ".docker", ".azure", ".gcloud"})
_EXAMPLES = re.compile(r"\.env\.(example|sample|template|dist)", re.IGNORECASE)


def is_secret_file(path: str) -> bool:
    """Say whether a file looks, by its name, as if it held secrets.

    >>> names = (".env", "a/.env.prod", "id_rsa", "tls.pem", "monkey.py", ".env.example")
    >>> [name for name in names if is_secret_file(name)]
    ['.env', 'a/.env.prod', 'id_rsa', 'tls.pem']
    """
    pure = PurePath(path)
    if _EXAMPLES.fullmatch(pure.name):
        return False
    return _SECRET_FILE.fullmatch(pure.name) is not None or not _SECRET_FOLDERS.isdisjoint(pure.parts[:-1])


def mask_text(text: str) -> str:
    """Return a text without what looks like a secret by its shape: tokens, and credentials in addresses.

    >>> mask_text("postgresql://ada:engine@db/flights")
    'postgresql://***@db/flights'
    """
    return _QUERY.sub(rf"\1{MASK}", _IN_URL.sub(rf"\1{MASK}@", _SHAPES.sub(MASK, text)))


def mask_command(words: Sequence[str]) -> list[str]:
    """Return a command line without what looks like a secret by its option or its shape.

    >>> mask_command(["train.py", "--api-key", "abc", "--password=x", "TOKEN=y", "--lr", "0.1"])
    ['train.py', '--api-key', '***', '--password=***', 'TOKEN=***', '--lr', '0.1']
    """
    masked: list[str] = []
    hide_next = False
    for word in words:
        name, equals, _ = word.partition("=")
        named = _NAMES.search(name.lstrip("-")) is not None
        if equals and named:
            masked.append(f"{name}={MASK}")
        elif hide_next and not (word.startswith("-") and len(word) > 1 and not word[1].isdigit()):
            masked.append(MASK)
        else:
            masked.append(mask_text(word))
        hide_next = not equals and named and word.startswith("-")
    return masked


def without_credentials(address: str) -> str:
    """Return the address of a repository or an index without who logs in there.

    >>> without_credentials("https://ada:token@example.org/team/flights.git?private_token=x")
    'https://example.org/team/flights.git'
    >>> without_credentials("git@example.org:team/flights.git")
    'git@example.org:team/flights.git'
    """
    if "://" not in address:
        return mask_text(address)
    try:
        parts = urlsplit(address)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return MASK
    return urlunsplit((parts.scheme, f"[{host}]{port}" if ":" in host else host + port, parts.path, "", ""))
