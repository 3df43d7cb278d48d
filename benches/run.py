#!/usr/bin/env python3
"""Runs the comparisons: both sides in turn, in one run, and prints the ratio of each pair.

    cargo build --release -p weft-benches
    python3 benches/run.py --conformance ../shared/data [--rounds 15] [--out benches/results/DATE] [TOPIC ...]

The peers are installed into a virtual environment under the target folder; inputs are made beside it.
"""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import venv

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import prepare  # noqa: E402

# Topic: what it compares, our side, the other side, input, repeats in a round, whether results must be equal.
TOPICS = {
    "warc-records": ("every record of real archives", "warc", "peer:warc", "records.warc.gz", 1, True),
    "warc-pages": ("their pages alone, which is what Common Crawl is mostly", "warc", "peer:warc", "pages.warc.gz", 1, True),
    "member": ("inflate_member, beside libdeflate into one buffer", "member", "bare", "blocks.frames", 4, True),
    "lines": ("index blocks cut into lines, beside libdeflate alone", "lines", "bare", "blocks.frames", 4, False),
    "phash": ("1.3 megapixels, vector registers as found", "phash", "peer:phash", "pictures.frames", 2, True),
    "phash-portable": ("1.3 megapixels, any x86-64", "phash-portable", "peer:phash", "pictures.frames", 2, True),
    "assignment-10x40": ("10 images, 40 sentences", "assignment", "peer:assignment", "matrices-10x40.frames", 40, True),
    "assignment-50x200": ("50 images, 200 sentences", "assignment", "peer:assignment", "matrices-50x200.frames", 20, True),
    "assignment-200x800": ("200 images, 800 sentences", "assignment", "peer:assignment", "matrices-200x800.frames", 20, True),
    "images": ("image lists of pages; lxml makes a tree and reads each src", "images", "peer:images", "html.frames", 5, False),
}


class Side:
    """A process that runs a round when asked."""

    def __init__(self, command):
        # Settings for other processors would slow the peers down.
        kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENBLAS_")}
        kept["PYTHONDONTWRITEBYTECODE"] = "1"
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=kept)

    def round(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"{self.process.args} gave no answer")
        answer = json.loads(answer)
        return answer["seconds"], answer["cpu_seconds"], answer["check"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def peers(folder):
    """The Python that has the peers."""
    python = folder / "venv/bin/python"
    if not python.exists():
        venv.create(folder / "venv", with_pip=True)
        requirements = HERE / "requirements.txt"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--requirement", requirements], check=True)
    return python


def machine():
    """Facts about the machine, and no names."""
    flags, model = set(), "unknown"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("flags"):
            flags = set(line.split(":")[1].split())
        elif line.startswith("model name"):
            model = line.split(":")[1].strip()
    named = ["sse4_2", "avx", "avx2", "bmi2", "pclmulqdq", "vpclmulqdq", "avx512f", "avx512bw"]
    found = " ".join(flag for flag in named if flag in flags)
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True).stdout.strip()
    versions = ", ".join((HERE / "requirements.txt").read_text().split())
    return [
        f"machine: {os.cpu_count()} cores, {model}, {found}",
        f"tools: {rustc}; Python {platform.python_version()}; {versions}",
        f"load when begun: {os.getloadavg()[0]:.1f}",
    ]


def compare(topic, program, python, inputs, rounds):
    about, ours, theirs, name, repeats, equal = TOPICS[topic]
    path = inputs / name

    def command(side):
        if side.startswith("peer:"):
            return [python, HERE / "peer.py", side.removeprefix("peer:"), path, str(repeats)]
        return [program, side, path, str(repeats)]

    lines = [f"# {topic}: {about}", f"ours: {ours}; theirs: {theirs}; input: {path.stat().st_size} bytes, {repeats} times a round"]
    both = [Side(command(ours)), Side(command(theirs))]
    checks = [side.round()[2] for side in both]
    if equal and checks[0] != checks[1]:
        raise SystemExit(f"{topic}: the sides disagree: {checks}")
    lines.append(f"results: ours {checks[0]}; theirs {checks[1]}")
    lines.append("pair   ours s, on cpu  theirs s, on cpu  theirs/ours, on cpu")
    ratios, cpu_ratios, speeds = [], [], ([], [])
    megabytes = path.stat().st_size * repeats / 1e6
    for pair in range(rounds):
        # Who goes first takes turns.
        order = (0, 1) if pair % 2 == 0 else (1, 0)
        took, on_cpu = {}, {}
        for side in order:
            took[side], on_cpu[side], check = both[side].round()
            if check != checks[side]:
                raise SystemExit(f"{topic}: a round came out differently: {check}")
            speeds[side].append(megabytes / on_cpu[side])
        ratios.append(took[1] / took[0])
        cpu_ratios.append(on_cpu[1] / on_cpu[0])
        lines.append(
            f"{pair + 1:>4}  {took[0]:>7.4f} {on_cpu[0]:>7.4f}   {took[1]:>7.4f} {on_cpu[1]:>7.4f}"
            f"   {ratios[-1]:>10.3f} {cpu_ratios[-1]:>7.3f}"
        )
    for side in both:
        side.close()
    for about, found in (("clock", ratios), ("processor time", cpu_ratios)):
        lines.append(
            f"speed of ours over theirs by {about}:"
            f" min {min(found):.2f}, median {statistics.median(found):.2f}, max {max(found):.2f}"
        )
    medians = [statistics.median(of_side) for of_side in speeds]
    lines.append(f"input a second of processor time, median: ours {medians[0]:.0f} MB, theirs {medians[1]:.0f} MB")
    return lines


def main():
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", HERE.parent / "target"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("topics", nargs="*", metavar="TOPIC", help=", ".join(TOPICS))
    parser.add_argument("--conformance", required=True, help="the folder of conformance data")
    parser.add_argument("--program", default=target / "release/weft-bench", type=pathlib.Path)
    parser.add_argument("--work", default=target / "bench", type=pathlib.Path, help="inputs and peers")
    parser.add_argument("--rounds", default=15, type=int)
    parser.add_argument("--out", type=pathlib.Path, help="a folder for the raw results, a file a topic")
    arguments = parser.parse_args()
    unknown = set(arguments.topics) - set(TOPICS)
    if unknown:
        parser.error(f"no such topic: {', '.join(sorted(unknown))}")
    arguments.work.mkdir(parents=True, exist_ok=True)
    python = peers(arguments.work)
    inputs = prepare.prepare(arguments.conformance, arguments.work / "inputs")
    for topic in arguments.topics or TOPICS:
        facts = machine()
        lines = compare(topic, arguments.program, python, inputs, arguments.rounds)
        text = "\n".join([lines[0], *facts, *lines[1:]]) + "\n"
        print(text, flush=True)
        if arguments.out:
            arguments.out.mkdir(parents=True, exist_ok=True)
            (arguments.out / f"{topic}.txt").write_text(text)


if __name__ == "__main__":
    main()
