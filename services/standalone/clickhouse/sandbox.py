"""A second wall around the engine process: Linux's Landlock, where the kernel has it.

The guard and the grants judge statements; should one slip through, the kernel lets this process read and write its
data folder, read the programs and libraries of the system, and open no TCP connection. See landlock(7).
"""

import ctypes
import os
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_VERSION_FLAG: Final = 1
_RULE_PATH_BENEATH: Final = 1
_PR_SET_NO_NEW_PRIVS: Final = 38
# REFER came with version 2; without it no file may be moved between folders, which the engine does.
_MIN_VERSION: Final = 2
_NET_VERSION: Final = 4

_EXECUTE: Final = 1 << 0
_WRITE_FILE: Final = 1 << 1
_READ_FILE: Final = 1 << 2
_READ_DIR: Final = 1 << 3
_ALL_FS: Final = (1 << 14) - 1
_ON_FILES: Final = _EXECUTE | _WRITE_FILE | _READ_FILE
_READ: Final = _EXECUTE | _READ_FILE | _READ_DIR
_CONNECT_TCP: Final = 1 << 1

_SYSTEM: Final = (
    *("/usr", "/lib", "/lib64", "/proc", "/sys"),
    *("/etc/localtime", "/etc/timezone", "/etc/ld.so.cache", "/etc/nsswitch.conf", "/etc/hosts", "/etc/resolv.conf"),
    *("/dev/urandom", "/dev/random"),
)
_DEVICES: Final = ("/dev/null", "/dev/zero", "/dev/full")


def confine(data: Path) -> bool:
    """Confine this process and the threads it starts from now on, for good.

    Args:
        data: The one folder that may be written.

    Returns:
        Whether the kernel could: False on other systems and on old kernels.

    Raises:
        OSError: The kernel has it, but refused.

    """
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(_VERSION_FLAG))
    if version < _MIN_VERSION:
        return False
    attributes = struct.pack("=Q", _ALL_FS)
    if version >= _NET_VERSION:
        attributes += struct.pack("=Q", _CONNECT_TCP)
    ruleset = _call(libc, _CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    try:
        readable = (*_SYSTEM, sys.prefix, sys.base_prefix, str(Path(__file__).resolve().parents[3]))
        _allow(libc, ruleset, readable, _READ)
        _allow(libc, ruleset, _DEVICES, _READ | _WRITE_FILE)
        _allow(libc, ruleset, [str(data)], _ALL_FS)
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
        _call(libc, _RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)
    return True


def _allow(libc: ctypes.CDLL, ruleset: int, paths: Iterable[str], access: int) -> None:
    for path in paths:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            allowed = access if Path(path).is_dir() else access & _ON_FILES
            rule = struct.pack("=Qi", allowed, descriptor)
            _call(libc, _ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(_RULE_PATH_BENEATH), rule, ctypes.c_uint32(0))
        finally:
            os.close(descriptor)


def _call(libc: ctypes.CDLL, number: int, *arguments: object) -> int:
    result: int = libc.syscall(number, *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"landlock: {os.strerror(code)}")
    return result
