"""Compares our image decoders with Pillow and imagehash over seeded files, sound and damaged, and prints a table.

    cargo build --release -p weft-models --example decode_images
    pip install pillow==13.0.0 imagehash numpy            # opencv-python-headless and cjpeg/jpegtran where at hand
    python benches/pillow/compare.py --decoder target/release/examples/decode_images --work /a/temporary/folder

A file agrees if both decode it to the same size with hashes within the tolerance (0 bits for lossless formats, else
2 and those near the median), or if both refuse it. Where OpenCV is installed, `asked` counts the files on which the
two references are of one mind, and `missed` those of them that we treat otherwise.
"""

import argparse
import collections
import json
import pathlib
import subprocess
import sys
import warnings

import imagehash
import numpy
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import corpus  # noqa: E402

LOSSY = {"jpeg", "webp", "avif", "jpeg2000"}


def reference(path):
    """What Pillow makes of a file: an RGB picture, or the words of its refusal."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB"), None
    except Exception as cause:  # noqa: BLE001 - any refusal is a refusal
        return None, f"{type(cause).__name__}: {cause}"


def opencv_decodes(path):
    """Whether OpenCV decodes a file; None where it is not installed."""
    try:
        import cv2
    except ImportError:
        return None
    try:
        return cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) is not None
    except cv2.error:
        return False


def ours(decoder, paths, pixels):
    """One line a file from the example `decode_images`."""
    lines = subprocess.run(
        [decoder, pixels], input="".join(f"{path}\n" for path in paths), text=True, check=True, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ).stdout.splitlines()
    assert len(lines) == len(paths), (len(lines), len(paths))
    return [line.split("\t") for line in lines]


def compare(path, line, raw):
    """The kind of outcome, and the words for a difference."""
    kind, width, height, phash, near, verdict = line
    image, refusal = reference(path)
    decoded = verdict == "ok"
    if verdict.startswith("panicked"):
        return "panicked", verdict
    if image is None:
        return ("both refuse", "") if not decoded else ("only we decode", refusal)
    if not decoded:
        return "only Pillow decodes", verdict
    if (int(width), int(height)) != image.size:
        return "size differs", f"{width} x {height} for {image.size}"
    pixels = numpy.frombuffer(raw.read_bytes(), numpy.uint8).astype(int)
    off = numpy.abs(pixels - numpy.asarray(image).ravel().astype(int)).max()
    if off == 0:
        return "equal pixels", ""
    distance = bin(int(phash, 16) ^ int(str(imagehash.phash(image)), 16)).count("1")
    # Ours near the median, not Pillow's: they differ by less than the hash does.
    if distance > (2 + int(near) if kind in LOSSY else 0):
        return "hash differs", f"{distance} bits, {near} near, pixels off by up to {off}"
    return "hash within tolerance", f"{distance} bits, pixels off by up to {off}"


AGREE = {"equal pixels", "hash within tolerance", "both refuse"}
KINDS = [
    "equal pixels", "hash within tolerance", "both refuse", "hash differs", "size differs", "only Pillow decodes",
    "only we decode", "panicked",
]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--decoder", required=True)
    parser.add_argument("--work", required=True, type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of damaged files")
    parser.add_argument("--only", default="", help="classes whose name begins so")
    parser.add_argument("--files", nargs="*", type=pathlib.Path, default=[], help="compare these instead")
    parser.add_argument("--differences", type=pathlib.Path, help="writes what differs, one JSON object a line")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    pixels = args.work / "pixels"
    pixels.mkdir(parents=True, exist_ok=True)
    if args.files:
        entries = [("files given", path) for path in args.files]
    else:
        entries = corpus.write(args.work / "files", args.seed, args.scale, args.only)
    lines = ours(args.decoder, [path for _, path in entries], pixels)
    table = collections.defaultdict(collections.Counter)
    differing = []
    for number, ((name, path), line) in enumerate(zip(entries, lines, strict=True)):
        raw = pixels / f"{number}.rgb"
        outcome, words = compare(path, line, raw)
        raw.unlink(missing_ok=True)
        row = table[name]
        row[outcome] += 1
        row["all"] += 1
        agrees = outcome in AGREE
        opencv = opencv_decodes(path)
        pillow = outcome not in {"both refuse", "only we decode"} and reference(path)[0] is not None
        if opencv is not None and opencv == pillow:
            row["asked"] += 1
            row["missed"] += not agrees
        row["agree"] += agrees
        if not agrees or outcome == "hash within tolerance":
            differing.append({"class": name, "file": path.name, "outcome": outcome, "words": words, "opencv": opencv})
    if args.differences:
        args.differences.write_text("".join(json.dumps(entry) + "\n" for entry in differing))
    columns = ["all", "agree", *KINDS, "asked", "missed"]
    table["sum"] = sum(table.values(), collections.Counter())
    print("| class | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name, row in table.items():
        print(f"| {name} | " + " | ".join(str(row[column]) for column in columns) + " |")


if __name__ == "__main__":
    main()
