"""What becomes of an exception of one operation on one shard."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from framemill.errors import DeviceLostError, SetupError
from framemill.models.cuda import LOST_REMEDY, is_device_lost
from framemill.ops import OPS
from framemill.ops.operation import describe_error

if TYPE_CHECKING:
    from framemill.actors.shard_tasks import ShardResult


class Catch:
    """Turns an exception of one operation into that operation's failure; the others go on."""

    def __init__(self, result: ShardResult, name: str) -> None:
        self._result = result
        self._name = name

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, Exception) and not isinstance(error, SetupError | MemoryError):
            if is_device_lost(error):
                # An array on a device fails like any other, but no later file would fare better here.
                raise DeviceLostError(f"{self._name}: {str(error)[:300]}; {LOST_REMEDY}") from error
            self._result.failures[self._name] = describe_error(self._name, error, self._name in OPS)
            self._result.traces.append("".join(traceback.format_exception(error)))
            self._result.partials.pop(self._name, None)
            return True
        return False
