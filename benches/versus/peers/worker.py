"""A peer's side of versus.py: `worker.py PEER --folder PATH --threads N [--mnist FOLDER]`; requests as in ../main.rs.

A peer is a module here with `versions()` and `prepare(row, settings)`, which returns a Task or None for a row that it does
not have. Thread counts come by environment variables and CPU mask from the caller, before anything is imported.
"""
import argparse
import importlib
import json
import sys
import time
import warnings
from dataclasses import dataclass
from typing import Callable

warnings.filterwarnings("ignore")


@dataclass
class Task:
    run: Callable[[], object]
    restore: Callable[[], object] = lambda: None  # not timed
    steps: int = 1  # steps in one run
    check: Callable[[], float | None] = lambda: None  # a number of the result, the same for everybody


def turn(task, seconds):
    times, total = [], 0.0
    while not times or total < seconds:
        task.restore()
        start = time.perf_counter()
        task.run()
        elapsed = time.perf_counter() - start
        total += elapsed
        times.append(elapsed / task.steps)
    return times


def answer(peer, settings, state, request):
    verb, _, rest = request.partition(" ")
    if verb == "about":
        return peer.versions()
    if verb == "prepare":
        state["task"] = None
        task = state["task"] = peer.prepare(rest, settings)
        if task is None:
            return {"missing": "not one of this peer's"}
        task.restore()
        task.run()
        value = task.check()
        return {"check": None if value is None else float(value)}
    if verb == "turn":
        return {"seconds": turn(state["task"], float(rest))}
    if verb == "curve":
        return peer.curve(settings, *map(float, rest.split(" ")))
    if verb == "evaluate":
        return peer.evaluate(settings, rest)
    return {"error": f"no such request: {request}"}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("peer")
    parser.add_argument("--folder", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--mnist")
    settings = parser.parse_args()
    try:
        peer = importlib.import_module(settings.peer)
    except ImportError as error:
        print(json.dumps({"missing": f"{settings.peer}: {error}"}), flush=True)
        return
    print(json.dumps({"ready": True}), flush=True)
    state = {}
    for line in sys.stdin:
        try:
            reply = answer(peer, settings, state, line.strip())
        except Exception as error:  # one row that fails must not end the others
            reply = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    sys.modules["worker"] = sys.modules["__main__"]  # peers import Task from here
    main()
