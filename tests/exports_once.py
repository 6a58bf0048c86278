"""What torch finds out again at every export, found out once: none of it depends on what is exported.

Half of an export of few layers goes into it. Where a version of torch has another way, the tests take longer.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any


def answer_once() -> None:
    """Keeps the answers of this process, whatever of torch and of the ONNX exporter it has loaded."""
    if "torch" in sys.modules:
        with suppress(ImportError, AttributeError):
            _operators()
        with suppress(ImportError, AttributeError):
            _torchlib()
    if "onnxscript" in sys.modules:
        with suppress(ImportError, AttributeError):
            _signatures()


def _torchlib() -> None:
    """The source of the ONNX exporter's 500 functions, which it parses at each export.

    It asks a module that it loads when it is first used, and so does this.
    """
    from torch.onnx._internal._lazy_import import onnxscript_apis as late

    late.get_torchlib_ops = functools.cache(lambda: type(late).__getattr__(late, "get_torchlib_ops")())


def _signatures() -> None:
    """The types that each of these functions takes, which the exporter reads from its annotations."""
    from torch.onnx._internal.exporter import _schemas

    _schemas.op_signature_from_function = functools.cache(_schemas.op_signature_from_function)


def _operators() -> None:
    """The operators that are made of others, found among all that there are; again where one was registered since."""
    import torch
    from torch._export import utils
    from torch.export import decomp_utils, exported_program

    search: Callable[[], set[Any]] = utils._collect_all_valid_cia_ops
    registered = functools.partial(torch._C._dispatch_get_registrations_for_dispatch_key, "CompositeImplicitAutograd")
    found: dict[int, set[Any]] = {}

    def kept() -> set[Any]:
        many = len(registered())
        if many not in found:
            found[many] = search()
        return set(found[many])

    for user in (decomp_utils, exported_program):
        if user._collect_all_valid_cia_ops is search:
            user._collect_all_valid_cia_ops = kept
