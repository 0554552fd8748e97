"""Parsl with its thread executor: every evaluation is an app, all submitted at once."""

from __future__ import annotations

import random
import time

import parsl
from _common import arguments, evaluate, report
from parsl.config import Config
from parsl.executors import ThreadPoolExecutor


def main() -> None:
    """Run the apps and report."""
    args = arguments()
    app = parsl.python_app(evaluate)
    ended: list[float] = []
    with parsl.load(Config(executors=[ThreadPoolExecutor(max_threads=args.concurrency)], strategy="none")):
        futures = []
        for _ in range(args.evaluations):
            future = app(random.random())
            future.add_done_callback(lambda _: ended.append(time.time()))
            futures.append(future)
        for future in futures:
            future.result()
    report(args.report, "parsl", ended)


if __name__ == "__main__":
    main()
