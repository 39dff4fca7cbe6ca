"""Content encodings both ways, bounded in size."""

import gzip
import zlib
from collections.abc import Callable
from typing import Any, Final

import lz4.frame

from services.standalone.clickhouse.errors import (
    CANNOT_DECOMPRESS,
    TOO_MANY_BYTES,
    UNKNOWN_COMPRESSION_METHOD,
    ClickHouseError,
)

try:
    from compression import zstd  # type: ignore[import-not-found,unused-ignore]  # Python 3.14
except ImportError:
    from backports import zstd

_GZIP_WBITS: Final = 31
_FASTEST: Final = 1


def _zlib(wbits: int) -> Callable[[], Any]:
    return lambda: zlib.decompressobj(wbits)


_DECODERS: Final[dict[str, Callable[[], Any]]] = {
    "lz4": lz4.frame.LZ4FrameDecompressor,
    "zstd": zstd.ZstdDecompressor,
    "gzip": _zlib(_GZIP_WBITS),
    "x-gzip": _zlib(_GZIP_WBITS),
    "deflate": _zlib(zlib.MAX_WBITS),
}


def too_large(limit: int) -> ClickHouseError:
    """The refusal of a request above ``limit`` bytes."""
    return ClickHouseError.of(TOO_MANY_BYTES, "TOO_MANY_BYTES", f"The request is larger than {limit} bytes")


def _broken(reason: str) -> ClickHouseError:
    return ClickHouseError.of(CANNOT_DECOMPRESS, "CANNOT_DECOMPRESS", f"Cannot decompress: {reason}")


def decode(data: bytes, encoding: str, limit: int) -> bytes:
    """Undo a Content-Encoding; several frames one after another are one text (clickhouse-connect sends one a block).

    Raises:
        ClickHouseError: Unknown encoding, broken data, or more than ``limit`` bytes.

    """
    if encoding in {"", "identity"}:
        return data
    if (make := _DECODERS.get(encoding)) is None:
        raise ClickHouseError.of(
            UNKNOWN_COMPRESSION_METHOD, "UNKNOWN_COMPRESSION_METHOD", f"Unknown Content-Encoding {encoding}"
        )
    parts = []
    room = limit
    try:
        while data:
            decoder = make()
            part = decoder.decompress(data, room + 1)
            room -= len(part)
            if room < 0:
                raise too_large(limit)
            if not decoder.eof:
                raise _broken("it ends early")
            parts.append(part)
            data = decoder.unused_data
    except ClickHouseError:
        raise
    except (EOFError, OSError, RuntimeError, zlib.error, zstd.ZstdError) as error:
        raise _broken(str(error)) from error
    return parts[0] if len(parts) == 1 else b"".join(parts)


def encode(data: bytes, accepted: str) -> tuple[bytes, str | None]:
    """Compress with the first encoding of an Accept-Encoding header that is known here, or not at all."""
    for offer in accepted.split(","):
        match offer.split(";")[0].strip().lower():
            case "lz4":
                return lz4.frame.compress(data), "lz4"
            case "zstd":
                return zstd.compress(data, _FASTEST), "zstd"
            case "gzip":
                return gzip.compress(data, _FASTEST), "gzip"
            case _:
                continue
    return data, None
