#!/usr/bin/env python3
"""Ours and the peers on the same work, in turn, on the same CPUs: one table.

    benches/versus/setup FOLDER                                   # once: the peers, in a virtual environment
    benches/versus/versus.py --python FOLDER/bin/python [--mnist FOLDER]

Writes versus.md and versus.json to --out. A peer that is not installed is named and left out. See README.md.
"""
import argparse
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import programs
from programs import Missing
from report import write_json, write_table
from rows import OURS, all_rows, roof

# how far results may differ between programs, relatively
SAME = dict(f32=1e-3, f64=1e-9)

ROOT = Path(__file__).resolve().parents[2]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", default=sys.executable, help="the interpreter that has the peers")
    parser.add_argument("--out", type=Path, default=ROOT / "target" / "versus", help="folder of the results")
    parser.add_argument("--threads", default="1,2", help="thread counts, each a part of the table")
    parser.add_argument("--rounds", type=int, default=7, help="turns that every program gets in every row (at least 5)")
    parser.add_argument("--seconds", type=float, default=0.5, help="timed in one turn, at least one call")
    parser.add_argument("--pause", type=float, default=0.1, help="seconds between turns, for spinning threads to sleep")
    parser.add_argument("--rows", default="", help="only rows whose name contains one of these, by commas")
    parser.add_argument("--backends", default=",".join(OURS))
    parser.add_argument("--mnist", help="folder with MNIST's IDX files: adds the loss after --curve-seconds of training")
    parser.add_argument("--curve-seconds", default="8.25,16.5,40", help="of training, each a run of its own")
    parser.add_argument("--curve-dampings", default="0.05,0.1", help="initial dampings that every program gets")
    parser.add_argument("--curve-batches", default="1,2", help="batches of 512 whose gradients make one update")
    parser.add_argument("--quick", action="store_true", help="one short turn: whether everything runs, not how fast")
    settings = parser.parse_args()
    if settings.quick:
        settings.rounds, settings.seconds = 1, 0.0
    elif settings.rounds < 5:
        parser.error("--rounds must be at least 5 (or --quick)")
    return settings


def build():
    """Our program, optimized; its path."""
    command = ["cargo", "bench", "--no-run", "--features", "openblas-system", "--bench", "versus"]
    built = subprocess.run([*command, "--message-format", "json-render-diagnostics"], cwd=ROOT, text=True,
                           stdout=subprocess.PIPE, check=True)
    targets = (json.loads(line) for line in built.stdout.splitlines() if line.startswith("{"))
    found = [t["executable"] for t in targets if t.get("executable") and t["target"]["name"] == "versus"]
    return found[-1]


def measure(row, players, settings, mask):
    """{name: [median of a turn]}, the share of our CPUs that others took, by turns, and {name: number of the result}."""
    ready, checks = {}, {}
    for name in (*settings.backends.split(","), *row.peers):
        if name not in players:
            continue
        try:
            checks[name] = players[name].ask(f"prepare {row.name}")["check"]
            ready[name] = players[name]
        except Missing as why:
            print(f"  without {name}: {why}", flush=True)
    known = [check for check in checks.values() if check is not None]
    if known and not max(known) - min(known) <= SAME[row.dtype] * abs(known[0]):
        raise SystemExit(f"{row.name}: not the same work: {checks}")
    turns, others = {name: [] for name in ready}, []
    for round_number in range(settings.rounds):
        # who begins changes, so that nobody always follows the same one
        names = list(ready)
        cut = round_number % max(len(names), 1)
        for name in names[cut:] + names[:cut]:
            time.sleep(settings.pause)
            busy, own, start = programs.busy_seconds(mask), ready[name].cpu_seconds(), time.perf_counter()
            try:
                calls = sorted(ready[name].ask(f"turn {settings.seconds}")["seconds"])
            except Missing as why:
                print(f"  without {name}: {why}", flush=True)
                del ready[name], turns[name]
                continue
            wall = time.perf_counter() - start
            foreign = programs.busy_seconds(mask) - busy - (ready[name].cpu_seconds() - own)
            others.append(max(0.0, foreign / wall))
            turns[name].append(calls[len(calls) // 2])
    return turns, others, checks


def start(binary, folder, threads, settings, names):
    players, missing = {}, {}
    for name in names:
        try:
            if name in programs.MODULES:
                players[name] = programs.peer(settings.python, name, folder, threads, settings.mnist)
            else:
                players[name] = programs.ours(binary, name, folder, threads, settings.mnist)
            players[name].about = players[name].ask("about")
        except Missing as why:
            missing[name] = str(why)
            players.pop(name, None)
            print(f"left out: {why}", flush=True)
    return players, missing


def curves(players, settings):
    """Loss after so many seconds of training, each program with each setting, in turn."""
    found = []
    each = itertools.product(settings.curve_batches.split(","), settings.curve_dampings.split(","))
    for together, damping in each:
        for name in (*settings.backends.split(","), "kfac_jax"):
            if name not in players or "scipy" not in players:
                continue
            for limit in settings.curve_seconds.split(","):
                try:
                    run = players[name].ask(f"curve {limit} {damping} {together}")
                    loss = players["scipy"].ask(f"evaluate {run['parameters']}")["loss"]
                except Missing as why:
                    print(f"  without {name}: {why}", flush=True)
                    break
                found.append(dict(name=name, damping=float(damping), together=int(together), limit=float(limit),
                                  batches=run["batches"], seconds=run["seconds"], loss=loss))
                print(f"  {name}, λ = {damping}, {together} batch(es) an update: {loss:.3f} after {limit} s, "
                      f"{run['batches']} batches", flush=True)
    return found


def part(binary, folder, threads, settings):
    """The table of one thread count."""
    mask = programs.cpus(threads)
    if len(mask) < threads:
        return dict(threads=threads, skipped=f"this process may use {len(mask)} CPU(s)")
    wanted = [pattern for pattern in settings.rows.split(",") if pattern]
    rows = [row for row in all_rows() if threads in row.threads and (
        not wanted or any(pattern in row.name for pattern in wanted))]
    rows = [roof(dtype) for dtype in sorted({row.dtype for row in rows})] + rows
    players, missing = start(binary, folder, threads, settings, (*settings.backends.split(","), *programs.MODULES))
    result = dict(threads=threads, cpus=mask, missing=missing, rows=[],
                  programs={name: player.about for name, player in players.items()})
    try:
        for row in rows:
            print(f"{threads} thread(s): {row.title}", flush=True)
            turns, others, checks = measure(row, players, settings, mask)
            result["rows"].append(dict(row=row.name, title=row.title, note=row.note, dtype=row.dtype, flops=row.flops,
                                       turns=turns, others=others, checks=checks))
        if settings.mnist and threads == max(map(int, settings.threads.split(","))):
            print(f"{threads} thread(s): training on MNIST", flush=True)
            result["curves"] = curves(players, settings)
    finally:
        for player in players.values():
            player.stop()
    return result


def machine():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor()
    return dict(cpu=model, cores=os.cpu_count(), load=os.getloadavg()[0], python=platform.python_version(),
                rust=subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.strip())


def main():
    settings = arguments()
    settings.out.mkdir(parents=True, exist_ok=True)
    binary = build()
    if not settings.mnist:
        print("left out: training on MNIST (--mnist FOLDER)", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        writer = programs.ours(binary, "faer", folder, 1, None)
        writer.ask("inputs")
        writer.stop()
        results = dict(machine=machine(), rounds=settings.rounds, seconds=settings.seconds, quick=settings.quick,
                       parts=[])
        for threads in map(int, settings.threads.split(",")):
            results["parts"].append(part(binary, folder, threads, settings))
            # after each part, so that a run that is cut short leaves what it has
            write_json(settings.out / "versus.json", results)
            write_table(settings.out / "versus.md", results)
    print(f"written: {settings.out / 'versus.md'}, {settings.out / 'versus.json'}")


if __name__ == "__main__":
    main()
