"""Sealing: bytes that rest encrypted, and open only for the purpose and site they were sealed for.

AES-256-GCM with a fresh 96-bit nonce (NIST SP 800-38D section 8.2.2), a key per master key, purpose
and site by HKDF-SHA256 (RFC 5869), and the purpose, site and key id as associated data. What must
never happen: a secret that can be read from the database alone, or moved to another site and read.
"""

import base64
import binascii
import hashlib
import logging
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # six megabytes, which a process that seals nothing can do without
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

logger = logging.getLogger("hansa.sealing")

MASTER_KEY_ENV: Final = "HANSA_MASTER_KEY"
KEY_BYTES: Final = 32
DERIVED_KEYS_MAX: Final = 1024
"""How many derived keys one process keeps; deriving one again costs about 20 microseconds."""

REREAD_S: Final = 1.0
"""How long a process may go on with the master keys of before, when their file has changed."""

_FORMAT: Final = 1
_ID_BYTES: Final = 4
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_HEAD: Final = 1 + _ID_BYTES
OVERHEAD_BYTES: Final = _HEAD + _NONCE_BYTES + _TAG_BYTES
"""By how much a sealed value is longer than the plain one."""


class SealBroken(Exception):
    """The bytes were changed, cut, or sealed for another site, purpose or master key.

    The message never says which of these it was, nor anything of the content.
    """


class MasterKeyInvalid(Exception):
    """The master key is missing or not 32 bytes in base64; the message says where it was read."""


class Sealer:
    """Seals with the first of the master keys and opens with any of them.

    To rotate, put a new key in front and keep the older ones until everything is sealed anew;
    `is_current` tells what still waits for that.
    """

    def __init__(
        self,
        masters: Sequence[bytes],
        *,
        reread: Callable[[], Sequence[bytes] | None] | None = None,
    ) -> None:
        """Take master keys of 32 bytes, the current one first. Raises MasterKeyInvalid.

        `reread` returns other keys when there are any: it is asked each second, and for a value
        that was sealed with an unknown one, so that keys rotate while processes run.
        """
        self._reread = reread
        self._reread_at = 0.0
        self._derived: OrderedDict[tuple[bytes, str, str], AESGCM] = OrderedDict()
        self._told: dict[str, list[bytes]] = {}
        self._take(masters)

    def _take(self, masters: Sequence[bytes]) -> None:
        if not masters or any(len(master) != KEY_BYTES for master in masters):
            raise MasterKeyInvalid(f"a master key is {KEY_BYTES} bytes, and one is needed")
        self._masters = {_key_id(master): master for master in masters}
        self._current = _key_id(masters[0])
        self._derived.clear()
        self._told.clear()

    def _look(self, *, now: bool = False) -> None:
        """Take other master keys up, if there are any."""
        if self._reread is None or not (now or time.monotonic() >= self._reread_at):
            return
        self._reread_at = time.monotonic() + REREAD_S
        masters = self._reread()
        if masters is not None:
            self._take(masters)

    @property
    def head(self) -> bytes:
        """What every value begins with that the current master key seals."""
        self._look()
        return bytes([_FORMAT]) + self._current

    def seal(self, purpose: str, site: str, plain: bytes) -> bytes:
        """Return `plain` sealed for a purpose ("sites.settings") of a site; longer by 33 bytes."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        head = self.head
        key = self._key(self._current, purpose, site)
        return head + nonce + key.encrypt(nonce, plain, _belongs_to(head, purpose, site))

    def open(self, purpose: str, site: str, sealed: bytes) -> bytes:
        """Return what `seal` was given. Raises SealBroken for anything else than its exact answer
        to the same purpose and site."""
        head = sealed[:_HEAD]
        self._look(now=head[:1] == bytes([_FORMAT]) and head[1:] not in self._masters)
        if len(sealed) < OVERHEAD_BYTES or head[0] != _FORMAT or head[1:] not in self._masters:
            raise SealBroken("the sealed value cannot be opened")
        nonce = sealed[_HEAD : _HEAD + _NONCE_BYTES]
        key = self._key(head[1:], purpose, site)
        from cryptography.exceptions import InvalidTag

        try:
            return key.decrypt(
                nonce, sealed[_HEAD + _NONCE_BYTES :], _belongs_to(head, purpose, site)
            )
        except InvalidTag:
            raise SealBroken("the sealed value cannot be opened") from None

    def derived(self, purpose: str) -> list[bytes]:
        """Return a key of 32 bytes from each master key, the current one first."""
        self._look()
        known = self._told.get(purpose)
        if known is None:
            info = b"hansa/derived/" + purpose.encode()
            ordered = [self._current, *(name for name in self._masters if name != self._current)]
            masters = [self._masters[name] for name in ordered]
            known = [_derived(master, info) for master in masters]
            if len(self._told) >= DERIVED_KEYS_MAX:
                self._told.clear()
            self._told[purpose] = known
        return known

    def has_key_of(self, sealed: bytes) -> bool:
        """Tell whether a value was sealed with one of the master keys, by the key's name in it."""
        if len(sealed) < OVERHEAD_BYTES or sealed[0] != _FORMAT:
            return False
        self._look(now=sealed[1:_HEAD] not in self._masters)
        return sealed[1:_HEAD] in self._masters

    def is_current(self, sealed: bytes) -> bool:
        """Tell whether a sealed value uses the current master key, so needs no new sealing."""
        return sealed[:_HEAD] == self.head

    def _key(self, key_id: bytes, purpose: str, site: str) -> "AESGCM":
        name = (key_id, purpose, site)
        key = self._derived.get(name)
        if key is None:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM

            info = b"hansa/seal/" + _parts(purpose, site)
            key = self._derived[name] = AESGCM(_derived(self._masters[key_id], info))
            if len(self._derived) > DERIVED_KEYS_MAX:
                self._derived.popitem(last=False)
        else:
            self._derived.move_to_end(name)
        return key


def _derived(master: bytes, info: bytes) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(master)


def _key_id(master: bytes) -> bytes:
    """A name for a master key that says nothing about it."""
    return hashlib.sha256(b"hansa/key-id/" + master).digest()[:_ID_BYTES]


def key_name(master: bytes) -> str:
    """Return a name for a master key, in hexadecimal, which tells nothing about it."""
    return _key_id(master).hex()


def key_name_of(sealed: bytes) -> str:
    """Return the name of the master key that a value was sealed with."""
    return sealed[1:_HEAD].hex()


def _parts(*texts: str) -> bytes:
    """Join texts so that no two different lists give the same bytes."""
    encoded = [text.encode() for text in texts]
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


def _belongs_to(head: bytes, purpose: str, site: str) -> bytes:
    return head + _parts(purpose, site)


# ---- where the master keys come from


def new_master_key() -> str:
    """Return a fresh master key as text: 32 random bytes in base64."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def parse_master_keys(text: str, where: str) -> list[bytes]:
    """Return the keys in `text`: base64, the current one first, separated by commas or white space.

    Raises MasterKeyInvalid with `where` they were read, never with the text itself.
    """
    keys: list[bytes] = []
    for number, part in enumerate(text.replace(",", " ").split(), 1):
        try:
            key = base64.b64decode(part, validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != KEY_BYTES:
            raise MasterKeyInvalid(f"{where}: key {number} is not {KEY_BYTES} bytes in base64")
        keys.append(key)
    if not keys:
        raise MasterKeyInvalid(f"{where}: there is no key in it")
    return keys


def load_sealer(file: Path, environment: str | None) -> Sealer:
    """Return the sealer of this process: from `environment` (the value of HANSA_MASTER_KEY) when
    it is given, else from `file`, which is made where it is not, readable by its owner only. Who
    may have one made is decided before (`hansa.kernel.proof`).

    Raises MasterKeyInvalid when the file is readable by others or does not hold keys.
    """
    if environment:
        return Sealer(parse_master_keys(environment, MASTER_KEY_ENV))
    if not file.exists():
        _write_once(file, new_master_key() + "\n")
    seen = _Seen(file)
    return Sealer(seen.read(), reread=seen.changed)


class _Seen:
    """The file of the master keys, as it was read last."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._mark = (0, 0)

    def read(self) -> list[bytes]:
        """Return the keys in the file. Raises MasterKeyInvalid."""
        about = self._file.stat()
        if about.st_mode & 0o077:
            raise MasterKeyInvalid(f"{self._file}: others may read it; run chmod 600 on it")
        self._mark = (about.st_ino, about.st_mtime_ns)
        return parse_master_keys(self._file.read_text(encoding="ascii"), str(self._file))

    def changed(self) -> list[bytes] | None:
        """Return the keys if the file is another one now. One that cannot be read changes nothing:
        a running process keeps what it knows."""
        try:
            about = self._file.stat()
            return self.read() if (about.st_ino, about.st_mtime_ns) != self._mark else None
        except (OSError, MasterKeyInvalid, UnicodeDecodeError) as error:
            logger.error("the master keys cannot be read again: %s", error)
            return None


def read_master_keys(file: Path) -> list[bytes]:
    """Return the keys in a file, the current one first. Raises MasterKeyInvalid, OSError."""
    return _Seen(file).read()


def replace_master_keys(file: Path, masters: Sequence[bytes]) -> None:
    """Write other keys in place of those in a file; who reads it finds the old or the new ones."""
    text = "".join(base64.b64encode(master).decode() + "\n" for master in masters)
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    _write_once(draft, text)
    os.replace(draft, file)
    _sync_folder(file.parent)


def _write_once(file: Path, text: str) -> None:
    """Write a file whole or not at all, and never over another one: two processes that start at
    once must end with the same key."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # customers' rows lie there, too
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as out:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
        try:
            os.link(draft, file)
        except FileExistsError:
            return
        _sync_folder(file.parent)
    finally:
        os.unlink(draft)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
