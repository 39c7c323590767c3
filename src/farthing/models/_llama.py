"""llama.cpp in this process: a GGUF file, and calls of it that run in threads."""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
from collections.abc import AsyncGenerator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from farthing.core.errors import ConfigError

BATCH_TOKENS = 512
"""Prompt tokens that are read at once; between two batches a call can be broken off."""
_MAGIC = b"GGUF"

Event = dict[str, Any]


def check_file(path: Path, key: str) -> None:
    """ConfigError, naming `key`, for a file that is missing or no GGUF."""
    try:
        with path.open("rb") as file:
            magic = file.read(len(_MAGIC))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}", key=key) from error
    if magic != _MAGIC:
        raise ConfigError(
            f"{path} is no GGUF file; convert the model with llama.cpp, or get its GGUF", key=key
        )


def _xllamacpp() -> Any:
    # OpenMP reads this when it is loaded: its threads then sleep while they wait. Threads that
    # spin halve the speed of a machine that has other work too.
    unset = "OMP_WAIT_POLICY" not in os.environ
    if unset:
        os.environ["OMP_WAIT_POLICY"] = "passive"
    try:
        import xllamacpp
    except ImportError as error:
        raise ConfigError(
            "a model of kind llama needs the package xllamacpp: install it with "
            "`pip install 'farthing[llama]'`",
            key="kind",
        ) from error
    finally:
        if unset:
            del os.environ["OMP_WAIT_POLICY"]
    return xllamacpp


class Engine:
    """A loaded model with `slots` places for answers that are generated at once.

    Calls wait for their places in the order in which they came. llama.cpp also opens a port on
    loopback, which answers nobody: its key is random and forgotten.
    """

    def __init__(
        self, path: Path, *, context: int, slots: int, threads: int | None, draft: Path | None
    ) -> None:
        """Load the model; ConfigError for files that cannot be used, or without the extra.

        Args:
            path: of the GGUF file.
            context: tokens of one prompt with its answer.
            slots: answers at once; each takes the memory of a context.
            threads: for computing; None lets llama.cpp choose.
            draft: a smaller model of the same vocabulary that speculates.
        """
        check_file(path, "path")
        if draft is not None:
            check_file(draft, "draft")
        llama = _xllamacpp()
        params = llama.CommonParams()
        params.model.path = str(path)
        params.n_ctx, params.n_parallel = context * slots, slots
        params.n_batch = min(BATCH_TOKENS, context)
        params.kv_unified = False
        params.endpoint_metrics = True
        params.endpoint_slots = params.ui = False
        params.api_keys = [secrets.token_urlsafe()]
        params.reasoning_format = llama.common_reasoning_format.COMMON_REASONING_FORMAT_NONE
        params.verbosity = 0
        ours = (params.cpuparams, params.cpuparams_batch)
        theirs = (params.speculative.draft.cpuparams, params.speculative.draft.cpuparams_batch)
        for cpu in (*ours, *theirs):
            cpu.poll = 0  # as OMP_WAIT_POLICY
            if threads is not None:
                cpu.n_threads = threads
        if draft is not None:
            kinds = llama.common_speculative_type
            params.speculative.draft.mparams.path = str(draft)
            params.speculative.types = [kinds.COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE]
        try:
            self._server = llama.Server(params)
        except RuntimeError as error:
            files = f"{path} with the draft {draft}" if draft else str(path)
            raise ConfigError(
                f"llama.cpp cannot load {files}: damaged, of a kind it does not know, or too "
                f"large for the memory at hand with context = {context} and slots = {slots}",
                key="path",
            ) from error
        self._pool = ThreadPoolExecutor(slots, thread_name_prefix="llama")
        self._door, self._free = threading.Lock(), threading.Semaphore(slots)
        self._closed = False

    async def events(self, body: Mapping[str, Any], places: int) -> AsyncGenerator[Event, None]:
        """The events of a streamed answer in llama.cpp's own shape, as they come.

        When the consumer leaves, the engine stops computing after the token, or the batch of
        the prompt, that it is at. An engine that is closed ends the events early. Raises
        RuntimeError for what llama.cpp cannot even begin.
        """
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[Event | BaseException | None] = asyncio.Queue()
        left = threading.Event()

        def put(item: Event | BaseException | None) -> None:
            try:
                loop.call_soon_threadsafe(queue.put_nowait, item)
            except RuntimeError:  # the loop is closed
                left.set()

        def take(event: Event) -> bool:
            put(event)
            return self._closed or left.is_set()

        work = self._pool.submit(self._work, dict(body), places, take, left)
        work.add_done_callback(lambda done: put(None if done.cancelled() else done.exception()))
        try:
            while (item := await queue.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            left.set()
            work.cancel()

    def _work(
        self, body: Event, places: int, take: Callable[[Event], bool], left: threading.Event
    ) -> None:
        with self._door:  # whoever needs several places is not overtaken
            for _ in range(places):
                self._free.acquire()
        try:
            if not (self._closed or left.is_set()):
                self._server.handle_chat_completions(body, take)
        finally:
            self._free.release(places)

    def counters(self) -> dict[str, float]:
        """llama.cpp's own counters since it was loaded, such as `tokens_predicted_total`."""
        found = {}
        for line in self._server.handle_metrics().splitlines():
            if not line.startswith("#") and "{" not in line and line.strip():
                name, value = line.split()
                found[name.removeprefix("llamacpp:")] = float(value)
        return found

    def close(self) -> None:
        """Break off what is under way, and free the model."""
        self._closed = True
        self._pool.shutdown(cancel_futures=True)
        self._server = None
