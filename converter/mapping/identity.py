"""Who a job is, and the ``_id`` of every document made from it.

The same job gives the same ids whenever and wherever it is converted, so importing it twice changes nothing.
"""

from collections.abc import Callable
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

from bson import Decimal128, ObjectId

from converter.extjson import dumps, without_surrogates
from converter.mapping.kept import keep
from converter.repairs import Repairs

_SHORT: Final = 64


def content_hash(*parts: str) -> bytes:
    """8 bytes of BLAKE2b over the parts, each behind its length, so that no two lists of parts run into each other."""
    return blake2b(_told(parts), digest_size=8).digest()


def id_maker(*parts: str) -> Callable[..., ObjectId]:
    """What makes ObjectIds from content: 4 bytes of time in seconds, 8 bytes of hash over ``parts`` and its own.

    It takes the time in milliseconds since 1970 and further parts.
    """
    common = blake2b(_told(parts), digest_size=8)

    def made(milliseconds: int, *parts: str) -> ObjectId:
        content = common.copy()
        # What is kept for the next jobs must be short: an entry's own id may be of any length.
        content.update(_told_again(parts) if len("".join(parts)) <= _SHORT else _told(parts))
        return ObjectId((milliseconds // 1000 % 2**32).to_bytes(4, "big") + content.digest())

    return made


def made_id(milliseconds: int, *parts: str) -> ObjectId:
    """One ObjectId made from content, see ``id_maker``."""
    return id_maker(*parts)(milliseconds)


def _told(parts: tuple[str, ...]) -> bytes:
    return "".join([f"{len(part)}:{part}" for part in parts]).encode()


_told_again = lru_cache(maxsize=1024)(_told)
"""For what is the same in many jobs: the kinds, types and positions of events."""


def true_id(identity: Any, repairs: Repairs) -> ObjectId | None:
    """The legacy ``_id`` as an ObjectId, ``None`` if it is of another type. 24 hexadecimal digits are one."""
    if isinstance(identity, ObjectId):
        return identity
    if type(identity) is str and ObjectId.is_valid(identity):
        repairs.count("id-from-string")
        return ObjectId(identity)
    return None


def job_id(legacy_job_id: str | None, identity: Any, repairs: Repairs) -> str | None:
    """The job's identity: mapping rule "jobId". ``None`` if it has none."""
    trimmed = legacy_job_id.strip() if legacy_job_id else ""
    if trimmed != (legacy_job_id or ""):
        repairs.count("job-id-trimmed")
    if trimmed:
        return trimmed
    if identity is None:
        return None
    if type(identity) is str:
        return str(ObjectId(identity)) if ObjectId.is_valid(identity) else without_surrogates(identity).strip() or None
    if isinstance(identity, ObjectId | int | float | Decimal128) and not isinstance(identity, bool):
        return str(identity)
    if isinstance(identity, bytes):
        return identity.hex() or None
    return dumps(keep(identity, Repairs())).decode()
