"""The results as a table to read and as JSON."""
import json
from statistics import median

from rows import OURS


def write_json(path, results):
    path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")


def milliseconds(turns):
    """median (least-greatest) of the turns, in ms"""
    return f"{1e3 * median(turns):.3g} ({1e3 * min(turns):.3g}-{1e3 * max(turns):.3g})"


def roof_of(part, dtype):
    """GFLOP/s of the fastest product of this scalar type in this run."""
    rates = [entry["flops"] / median(turns) for entry in part["rows"] if entry["row"] == f"gemm 1024 {dtype}"
             for turns in entry["turns"].values()]
    return max(rates, default=float("nan"))


def peer_cell(our, peer):
    """A peer's milliseconds, and how many times faster ours is: median and range of the rounds."""
    ratios = [b / a for a, b in zip(our, peer)]
    return f"{milliseconds(peer)}: {median(ratios):.2f}x ({min(ratios):.2f}-{max(ratios):.2f})"


def table_row(entry, part):
    turns = {name: found for name, found in entry["turns"].items() if found}
    our = min((turns[name] for name in OURS if name in turns), key=median, default=None)
    peers = sorted((name for name in turns if name not in OURS), key=lambda name: median(turns[name]))
    cell = lambda name: milliseconds(turns[name]) if name in turns else "-"  # noqa: E731
    against = "; ".join(f"{name} {peer_cell(our, turns[name]) if our else cell(name)}" for name in peers)
    roof = 100 * entry["flops"] / median(our) / roof_of(part, entry["dtype"]) if our else float("nan")
    noisy = " !" if median(entry["others"] or [0.0]) > 0.1 else ""
    title = entry["title"] + (f" [{entry['note']}]" if entry["note"] else "")
    return f"| {title}{noisy} | {' | '.join(cell(name) for name in OURS)} | {against or '-'} | {roof:.0f} % |"


def curve_rows(part):
    curves = part.get("curves")
    if not curves:
        return []
    limits = sorted({c["limit"] for c in curves})
    lines = ["Loss on 10000 training cases after so many seconds of training on MNIST, in nats a case (batches of 512):",
             "", "| program | batches an update | initial λ | " + " | ".join(f"{limit:g} s" for limit in limits) + " |",
             "|---|---|---|" + "---|" * len(limits)]
    setting = lambda c: (c["together"], c["damping"], c["name"])  # noqa: E731
    for together, damping, name in dict.fromkeys(map(setting, curves)):
        runs = {c["limit"]: f"{c['loss']:.2f} ({c['batches']})" for c in curves
                if setting(c) == (together, damping, name)}
        cells = " | ".join(runs.get(limit, "-") for limit in limits)
        lines.append(f"| {name} | {together} | {damping:g} | {cells} |")
    return [*lines, ""]


def write_table(path, results):
    machine = results["machine"]
    lines = ["# Ours and the peers, in turn", "",
             f"{machine['cpu']}, {machine['cores']} cores, {machine['rust']}; {results['rounds']} turns each of "
             f"{results['seconds']:g} s. Milliseconds: median of the turns' medians (least-greatest). x: a peer's "
             "time over that of our best backend, turn by turn, so above 1 we are ahead. Roof: our best, of the "
             "fastest gemm in the run. !: other processes took over a tenth of a CPU.", ""]
    if results["quick"]:
        lines += ["**A --quick run: says that everything runs, not how fast.**", ""]
    for part in results["parts"]:
        lines += [f"## {part['threads']} thread(s)", ""]
        if "skipped" in part:
            lines += [f"Left out: {part['skipped']}.", ""]
            continue
        versions = "; ".join(f"{name}: {', '.join(f'{k} {v}' for k, v in about.items())}"
                             for name, about in part["programs"].items())
        lines += [f"CPUs {', '.join(map(str, part['cpus']))}; {versions}.", ""]
        lines += [f"Left out: {why}." for why in part["missing"].values()]
        lines += ["| work | faer | OpenBLAS | peers | roof |", "|---|---|---|---|---|"]
        lines += [table_row(entry, part) for entry in part["rows"]]
        lines += ["", *curve_rows(part)]
    path.write_text("\n".join(lines).rstrip() + "\n")
