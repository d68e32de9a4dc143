"""A script in a kernel of its own, which ends with it: nothing of the session's is touched."""

import uuid

from kernel_exec.kernels.outcomes import Event, Produced, Request

from .reports import Aside, Done, Prepare, Submission, Work, describe_ending
from .slots import TakeSlot

_OF_THE_KERNEL = {"names", "lost", "working_directory"}
"""Details that mean nothing once the process is gone."""


def isolated(
    prepare: Prepare, slot: TakeSlot, submission: Submission, arguments: tuple[str, ...]
) -> Work:
    """Work that runs `submission` with the outputs, limits and interrupts of any other."""
    request = Request(
        id=uuid.uuid4().hex,
        source=submission.source,
        file_path=submission.file_path,
        arguments=arguments,
        time_limit=submission.time_limit,
    )

    async def work(aside: Aside) -> Done:
        def listen(event: Event) -> None:
            if isinstance(event, Produced) and event.execution_id == request.id:
                aside.emit(event.output)

        async with slot("isolated script"), (await prepare())(listen) as kernel:
            aside.stop_by(lambda: kernel.interrupt(force=True))
            ending = await kernel.execute(request)
        told = describe_ending(ending, known={})
        details = {word: value for word, value in told.items() if word not in _OF_THE_KERNEL}
        return Done(outcome=ending.outcome, details=details)

    return work
