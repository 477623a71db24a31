#!/usr/bin/env python3
"""Empty libraries in place of the CUDA ones that torch's Linux wheel links, so that it loads on a CPU without them.

usage: cuda_stand_ins.py FOLDER      (torch/lib of an installed torch; needs cc, nm and readelf)

Every function in them returns 100, CUDA's "no device": torch then reports that there is no GPU.
"""
import re
import subprocess
import sys
from pathlib import Path

CUDA = re.compile(r"_{0,2}(cu|nccl|nv)\w+$")


def output(*command):
    return subprocess.run(command, capture_output=True, text=True).stdout


def needed(library):
    return set(re.findall(r"\(NEEDED\).*\[(.*?)\]", output("readelf", "-dW", str(library))))


def symbols(library, kind):
    lines = output("nm", "-D", kind, str(library)).splitlines()
    return {line.split()[-1].split("@")[0] for line in lines if line.strip()}


def main(folder):
    libraries = sorted(folder.glob("*.so*"))
    there = {library.name for library in libraries}
    wanted = set().union(*map(needed, libraries)) - there
    missing = sorted(name for name in wanted if re.match(r"lib(cu|nccl|nv)", name))
    undefined = set().union(*(symbols(library, "--undefined-only") for library in libraries))
    undefined -= set().union(*(symbols(library, "--defined-only") for library in libraries))
    functions = sorted(name for name in undefined if CUDA.match(name))
    source = folder / "stand_in.c"
    source.write_text("".join(f"int {name}(void) {{ return 100; }}\n" for name in functions))
    # the first library has the functions, the others need it
    shared = ["cc", "-shared", "-fPIC", "-w", "-fno-builtin"]
    base = folder / "libstandin.so"
    subprocess.check_call([*shared, f"-Wl,-soname,{base.name}", "-o", str(base), str(source)])
    source.write_text("")
    for name in missing:
        link = ["-Wl,--no-as-needed", f"-Wl,-soname,{name}", "-Wl,-rpath,$ORIGIN", str(base)]
        subprocess.check_call([*shared, "-o", str(folder / name), str(source), *link])
    source.unlink()
    print(f"{len(missing)} stand-in libraries with {len(functions)} functions")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
