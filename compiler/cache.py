"""The disk cache: key -> bytes, for object code and for other modules' manifests.  A cache, never a store: a missing,
foreign or damaged entry is the same as none, and where the directory cannot be used there is none; a CacheWarning says
so, and what was wanted is made anew.

    key(*parts)        content hash of the parts and of everything that generated code depends on
    load(key)          the bytes stored under the key, or None
    store(key, bytes)  True if they were written
    write_source(...)  generated text as a real file, for debuggers and tracebacks

Format of an entry: magic, SHA-256 of the rest, the length of the payload (8 bytes, little-endian), the key, payload.
The checksum guards against damage; against other users guard the owner and the mode of the directory (0700).
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import stat
import struct
import sys
import tempfile
import warnings
from functools import cache
from importlib.util import find_spec
from pathlib import Path

MAGIC = b"symnet1\n"
LIMIT = 512 * 1024 * 1024
ENVIRONMENT = "SYMNET_CACHE"
INFO = ".dist-info"
_DIGEST = 32
_KEY = 64
_OURS = re.compile(r"[0-9a-f]{64}\.bin|\w+_[0-9a-f]{16}\.py|\..*\.tmp")  # entries, sources, and what is being written


class CacheWarning(UserWarning):
    """Kernels are compiled anew, or will be the next time, since the disk cache is damaged or cannot be used."""


def _warn(path: Path | str, what: object, so: str) -> None:
    warnings.warn(f"symnet's cache, {path}: {what}; {so}", CacheWarning, stacklevel=3)


_NO_CACHE = f"kernels are compiled anew in each process.  The environment variable {ENVIRONMENT} names another folder"


# ---------------------------------------------------------------------------------------------- keys
def key(*parts: str | bytes) -> str:
    """A content hash: of the parts, in order, and of the packages' sources, versions, processor."""
    digest = hashlib.sha256(surroundings().encode())
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(struct.pack("<q", len(data)))
        digest.update(data)
    return digest.hexdigest()


@cache
def surroundings() -> str:
    """What object code depends on besides its source: the compiler's own files, versions, processor, as text."""
    versions = [f"{name} {version(name)}" for name in ("sympy", "numba", "llvmlite", "numpy")]
    return "\n".join([package_hash(Path(__file__).parent), *versions, platform.python_version(), processor()])


@cache
def package_hash(directory: Path) -> str:
    """The hash of every Python file below the directory."""
    digest = hashlib.sha256()
    for path in sorted(directory.rglob("*.py")):
        data = path.read_bytes()
        digest.update(f"{path.relative_to(directory).as_posix()} {len(data)}\n".encode())
        digest.update(data)
    return digest.hexdigest()


@cache
def processor() -> str:
    """Triple, name and features of this processor, as LLVM sees them."""
    import llvmlite.binding as llvm

    return f"{llvm.get_process_triple()} {llvm.get_host_cpu_name()} {llvm.get_host_cpu_features().flatten()}"


@cache
def version(package: str) -> str:
    """Of an installed package, which is not imported: from the name of the folder that pip puts beside it.

    importlib.metadata, which is asked where there is no such folder, takes 10 ms to import.
    """
    found = find_spec(package)
    if found is None:
        return "none"
    places = found.submodule_search_locations or ()
    beside = [name for place in places for name in os.listdir(Path(place).parent) if name.startswith(f"{package}-")]
    versions = [name[len(package) + 1 : -len(INFO)] for name in beside if name.endswith(INFO)]
    if len(versions) == 1:
        return versions[0]
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


# ---------------------------------------------------------------------------------------------- directory
def directory() -> Path | None:
    """The cache directory, made at need; None, with a warning, where it cannot be made or is not ours alone."""
    chosen = os.environ.get(ENVIRONMENT)
    if chosen == "":  # the user wants none
        return None
    try:
        path = Path(chosen).expanduser() if chosen else _default()
        _claim(path)
    except (OSError, RuntimeError) as error:
        _warn(chosen or "the default folder", getattr(error, "strerror", None) or error, _NO_CACHE)
        return None
    return path


def _default() -> Path:
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local")) / "symnet" / "cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "symnet"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "symnet"


def _claim(path: Path) -> None:
    """Made with mode 0700 if missing; ours, a directory, and closed to others if it exists; else OSError."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise OSError("it is not a folder")
    if not hasattr(os, "getuid"):
        return
    if found.st_uid != os.getuid():
        raise OSError("it belongs to another user")
    if stat.S_IMODE(found.st_mode) & 0o077:
        other = next((name for name in sorted(os.listdir(path)) if not _OURS.fullmatch(name)), None)
        if other is not None:  # a folder for other things, too: closing it to others is not for us to decide
            raise OSError(f"it is open to others, and has other files than the cache's, such as {other}")
        os.chmod(path, 0o700)


# ---------------------------------------------------------------------------------------------- entries
def load(key: str) -> bytes | None:
    """The payload stored under the key, or None.  A damaged or foreign entry is deleted, with a warning."""
    path = _entry(key)
    if path is None:
        return None
    try:
        with open(path, "rb") as file:
            found = os.fstat(file.fileno())
            data = file.read()
        if hasattr(os, "getuid") and (found.st_uid != os.getuid() or found.st_mode & 0o022):
            raise ValueError("another user could have written it")
        payload = _unpack(key, data)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        _delete(path)
        _warn(path, getattr(error, "strerror", None) or error, "deleted, and compiled anew")
        return None
    _touch(path)
    return payload


def store(key: str, payload: bytes) -> bool:
    """Keep the payload under the key: a temporary file, then one atomic rename, so a reader sees all or nothing."""
    path = _entry(key)
    if path is None or not _write(path, _pack(key, payload)):
        return False
    _shrink(path.parent)
    return True


def write_source(name: str, text: str) -> Path | None:
    """Generated source as a file of that name in the cache directory; None if it could not be written."""
    base = directory()
    if base is None:
        return None
    path = base / name
    data = text.encode()
    try:
        if path.read_bytes() == data:
            return path
    except OSError:
        pass
    return path if _write(path, data) else None


def _entry(key: str) -> Path | None:
    assert len(key) == _KEY and set(key) <= set("0123456789abcdef"), f"not a key: {key!r}"
    base = directory()
    return None if base is None else base / f"{key}.bin"


def _pack(key: str, payload: bytes) -> bytes:
    body = struct.pack("<q", len(payload)) + key.encode() + payload
    return MAGIC + hashlib.sha256(body).digest() + body


def _unpack(key: str, data: bytes) -> bytes:
    start = len(MAGIC) + _DIGEST
    body = data[start:]
    if data[: len(MAGIC)] != MAGIC or hashlib.sha256(body).digest() != data[len(MAGIC) : start]:
        raise ValueError("it is damaged")
    (length,) = struct.unpack_from("<q", body)
    payload = body[8 + _KEY :]
    if length != len(payload) or body[8 : 8 + _KEY] != key.encode():
        raise ValueError("it is another entry under this name")
    return payload


def _write(path: Path, data: bytes) -> bool:
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".tmp")  # mode 0600
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            _delete(Path(temporary))
        _warn(path.parent, error.strerror or error, f"nothing is kept: {_NO_CACHE}")
        return False
    return True


def _delete(path: Path) -> None:
    try:
        path.unlink()
    except OSError:
        pass


def _touch(path: Path) -> None:
    """The time of modification serves as the time of last use."""
    try:
        os.utime(path)
    except OSError:
        pass


def _shrink(base: Path, limit: int | None = None) -> None:
    """Remove the least recently used files until three quarters of the limit are left, once it is exceeded."""
    limit = LIMIT if limit is None else limit
    files: list[tuple[float, int, Path]] = []
    try:
        with os.scandir(base) as entries:
            for entry in entries:
                if entry.is_file(follow_symlinks=False) and _OURS.fullmatch(entry.name):
                    found = entry.stat(follow_symlinks=False)
                    files.append((found.st_mtime, found.st_size, Path(entry.path)))
    except OSError:
        return
    total = sum(size for _, size, _ in files)
    if total <= limit:
        return
    for _, size, path in sorted(files):
        if total <= limit * 3 // 4:
            break
        _delete(path)
        total -= size
