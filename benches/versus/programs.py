"""The programs that take part, each in a process of its own that waits for requests: see main.rs."""
import json
import os
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODULES = {"scipy": "scipy_dense", "torch": "torch_cpu", "jax": "jax_cpu", "kfac_jax": "kfac_jax_cpu"}


def cpus(threads):
    """The last CPUs that this process may use: the first ones serve interrupts most."""
    return sorted(os.sched_getaffinity(0))[-threads:]


def environment(name, threads):
    """One thread count for everybody, and no library that may choose another."""
    count = str(threads)
    env = dict(os.environ, PYTHONWARNINGS="ignore", PYTHONUTF8="1", JAX_PLATFORMS="cpu", CUDA_VISIBLE_DEVICES="",
               MKL_DYNAMIC="FALSE")
    for library in ("RAYON", "OMP", "MKL", "OPENBLAS", "NUMEXPR"):
        env[f"{library}_NUM_THREADS"] = count
    if name == "kfac_jax":
        # XLA calls LAPACK from several threads at once: kfac_jax is faster when each call has one
        env["OPENBLAS_NUM_THREADS"] = "1"
    eigen = "true" if threads > 1 else "false"
    env["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={eigen} intra_op_parallelism_threads={count}"
    return env


class Missing(Exception):
    """A program, or a row of it, that cannot run here; says why."""


class Program:
    def __init__(self, name, command, threads):
        self.name = name
        mask = cpus(threads)
        pin = lambda: os.sched_setaffinity(0, mask)  # noqa: E731
        self.process = subprocess.Popen(command, env=environment(name, threads), preexec_fn=pin, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)

    def read(self):
        while True:
            line = self.process.stdout.readline()
            if not line:
                raise Missing(f"{self.name} ended with status {self.process.wait()}")
            if line.startswith("{"):  # libraries may print
                return json.loads(line)

    def ask(self, request):
        try:
            self.process.stdin.write(request + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            raise Missing(f"{self.name} ended with status {self.process.wait()}") from None
        reply = self.read()
        for key in ("error", "missing"):
            if key in reply:
                raise Missing(f"{self.name}: {reply[key]}")
        return reply

    def cpu_seconds(self):
        """User and system time of the program so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


def ours(binary, backend, folder, threads, mnist):
    command = [binary, "--folder", folder, "--backend", backend, "--threads", str(threads)]
    return Program(backend, command + (["--mnist", mnist] if mnist else []), threads)


def peer(python, name, folder, threads, mnist):
    command = [python, HERE / "peers" / "worker.py", MODULES[name], "--folder", folder, "--threads", str(threads)]
    program = Program(name, command + (["--mnist", mnist] if mnist else []), threads)
    reply = program.read()
    if "missing" in reply:
        program.stop()
        raise Missing(f"{reply['missing']} (see benches/versus/README.md for the set-up)")
    return program


def busy_seconds(on):
    """CPU seconds that anybody has used on these CPUs."""
    ticks = 0
    wanted = {f"cpu{cpu}" for cpu in on}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name in wanted:
            user, nice, system, _idle, _wait, irq, soft, steal = map(int, fields[:8])
            ticks += user + nice + system + irq + soft + steal
    return ticks / os.sysconf("SC_CLK_TCK")
