#!/usr/bin/env python3
"""make bench-engine: the writer at full speed against fio, pair by pair in one run.

A pair is: a fresh prewritten store, bench_writer into it, then fio overwriting a file of the same size on the same
filesystem (io_uring, O_DIRECT, 1 MiB, depth 4, fdatasync at the end) — the order changes from pair to pair. Prints a
table of medians with the 95 % interval of the median ratio, and writes build/bench/engine.json (DESIGN 11).

PAIRS=15  MIB=1024  CASES=16:xxh3,64:xxh3,16:leaves    DIR=build/bench/data
"""
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys

BUILD = sys.argv[1] if len(sys.argv) > 1 else "build/release"
PAIRS = int(os.environ.get("PAIRS", "15"))
MIB = int(os.environ.get("MIB", "1024"))
CASES = os.environ.get("CASES", "16:xxh3,64:xxh3,16:leaves").split(",")
DIR = os.environ.get("DIR", "build/bench/data")
OUT = "build/bench/engine.json"


def run(*argv):
    p = subprocess.run(argv, capture_output=True, text=True, check=False)
    if p.returncode:
        sys.exit(f"bench-engine: {argv[0]} failed: {p.stderr.strip()}")
    return p.stdout


def writer(streams, integrity):
    """MiB/s and CPU seconds per GiB of one run."""
    store = f"{DIR}/store"
    shutil.rmtree(store, ignore_errors=True)
    # Room for the footage and a half-filled segment of each stream.
    size = MIB * 9 // 8 + streams * 2 * 8
    run(f"{BUILD}/custos", "init", store, "--size", f"{size}M", "--segment-size", "8M", "--prewrite", "--no-encrypt")
    nbytes, wall, cpu = run(f"{BUILD}/bench/bench_writer", store, str(streams), str(MIB), integrity).split()
    shutil.rmtree(store)
    return int(nbytes) / float(wall) / 2**20, float(cpu) / (int(nbytes) / 2**30)


def fio():
    j = json.loads(run("fio", "--output-format=json", "--name=limit", f"--filename={DIR}/limit", "--rw=write",
                       "--ioengine=io_uring", "--direct=1", "--bs=1M", "--iodepth=4", "--registerfiles=1",
                       "--fixedbufs=1", f"--size={MIB}M", "--overwrite=1", "--end_fsync=1", "--fsync_on_close=1"))
    job = j["jobs"][0]
    wall = job["job_runtime"] / 1000
    cpu = (job["usr_cpu"] + job["sys_cpu"]) / 100 * wall
    return MIB / wall, cpu / (MIB / 1024)


def interval(values):
    """Order-statistic 95 % interval of the median."""
    v = sorted(values)
    n = len(v)
    k = max(0, int((n - 1.96 * n**0.5) / 2))
    return v[k], v[n - 1 - k]


def main():
    os.makedirs(DIR, exist_ok=True)
    results = []
    fio()  # lays the file out; not counted
    print(f"{PAIRS} interleaved pairs of {MIB} MiB; fio: 1 MiB x 4, io_uring, O_DIRECT, overwrite")
    print(f"{'case':<18} {'MiB/s':>8} {'fio':>8} {'ratio':>6} {'95 %':>13} {'CPU s/GiB':>10} {'fio':>6}")
    for case in CASES:
        streams, integrity = case.split(":")
        pairs = []
        for i in range(PAIRS):
            if i % 2:
                limit, ours = fio(), writer(int(streams), integrity)
            else:
                ours, limit = writer(int(streams), integrity), fio()
            pairs.append((ours, limit))
        speed = [o[0] for o, _ in pairs]
        base = [l[0] for _, l in pairs]
        ratio = [o[0] / l[0] for o, l in pairs]
        cpu = [o[1] for o, _ in pairs]
        base_cpu = [l[1] for _, l in pairs]
        low, high = interval(ratio)
        med = statistics.median
        name = f"{streams} x {integrity}"
        print(f"{name:<18} {med(speed):8.0f} {med(base):8.0f} {med(ratio):6.2f} {low:6.2f}-{high:5.2f} "
              f"{med(cpu):10.2f} {med(base_cpu):6.2f}", flush=True)
        for unit, ours, theirs, r in (("MiB/s", speed, base, ratio),
                                      ("CPU s/GiB", cpu, base_cpu, [a / b for a, b in zip(cpu, base_cpu)])):
            lo, hi = interval(r)
            results.append({"case": name, "value": med(ours), "unit": unit, "baseline": "fio", "baseline_value":
                            med(theirs), "ratio": med(r), "ratio_low": lo, "ratio_high": hi, "runs": PAIRS,
                            "min": min(ours), "max": max(ours)})
    shutil.rmtree(DIR)
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Linux {platform.release()}"
    with open(OUT, "w", encoding="utf-8") as f:
        json.dump({"machine": machine, "results": results}, f, indent=1)
    print(f"written: {OUT}")


main()
