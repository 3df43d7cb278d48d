"""Makes the inputs of the benchmarks from the conformance data, the same on every run.

Nothing of it is kept in the repository: the pages and records are other people's.
"""

import array
import gzip
import json
import pathlib
import random
import re
import zlib

import frames

SEED = 20251125
ARCHIVE_BYTES = 200_000_000


def members(path):
    """The gzip members of a file, as stored."""
    stored, at = path.read_bytes(), 0
    while at < len(stored):
        decoder = zlib.decompressobj(31)
        inflated = decoder.decompress(stored[at:])
        end = len(stored) - len(decoder.unused_data)
        yield stored[at:end], inflated
        at = end


def records(conformance):
    """Every record of the clean archives there, as (stored, inflated)."""
    expected = json.loads((conformance / "warc/expected.json").read_text())
    clean = [name for name, archive in expected.items() if archive["verdict"] == "clean"]
    paths = [conformance / "warc" / name for name in clean if name.endswith(".warc.gz")]
    paths += sorted((conformance / "archive-org").rglob("*.warc.gz"))
    return [record for path in paths for record in members(path)]


def archive(path, chosen):
    """The records in a new order each round, until the file is large."""
    shuffled, order, written = list(chosen), random.Random(SEED), 0
    with open(path, "wb") as file:
        while written < ARCHIVE_BYTES:
            order.shuffle(shuffled)
            for stored, _ in shuffled:
                written += file.write(stored)


def is_page(inflated):
    head = inflated[:4096].lower()
    return b"warc-type: response" in head and b"content-type: text/html" in head


def blocks(path, conformance, count=40, lines_a_block=3000):
    """Index blocks of Common Crawl's size: real lines, with numbers and digests drawn anew, or repetition would
    compress them far below what an index compresses to."""
    numbers = random.Random(SEED)
    indexes = sorted((conformance / "archive-org").rglob("cdx-*.gz")) + sorted((conformance / "cdx").rglob("*.gz"))
    lines = [line for index in indexes for _, text in members(index) for line in text.splitlines() if b"{" in line]
    letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

    def drawn(found):
        return bytes(numbers.choice(b"0123456789") for _ in found.group())

    def renewed(line):
        line = re.sub(rb"[A-Z2-7]{32}", lambda _: bytes(numbers.choice(letters) for _ in range(32)), line)
        key, rest = line.split(b" ", 1)
        return key + b" " + re.sub(rb"[0-9]{2,}", drawn, rest)

    def block():
        chosen = sorted(renewed(numbers.choice(lines)) for _ in range(lines_a_block))
        return gzip.compress(b"\n".join(chosen) + b"\n", 6, mtime=0)

    frames.write(path, [({}, block()) for _ in range(count)])


def pictures(path, count=12):
    """Pictures of about 1.3 megapixels: waves and noise, of several shapes."""
    noise = random.Random(SEED)
    shapes = [(1280, 1024), (1024, 1280), (1440, 910), (1144, 1144), (1600, 820), (990, 1320)]

    def picture(number):
        columns, rows = shapes[number % len(shapes)]
        pixels = bytearray(noise.randbytes(3 * columns * rows))
        ramp = bytes(range(256)) * (3 * columns // 256 + 1)
        for row in range(rows):
            # Three of four rows are a moving ramp, so that the hashes differ.
            if row % 4:
                shift = (row * (number + 1) // 3) % 256
                begin = 3 * columns * row
                pixels[begin : begin + 3 * columns] = ramp[shift : shift + 3 * columns].ljust(3 * columns, b"\x7f")
        return {"columns": columns, "rows": rows}, bytes(pixels)

    frames.write(path, [picture(number) for number in range(count)])


def matrices(path, rows, columns, count):
    """Cosines as CLIP gives them, in 32-bit floats; every fourth matrix is rounded, so that many are equal."""
    numbers = random.Random(SEED + rows)

    def matrix(number):
        values = (numbers.gauss(0.2, 0.05) for _ in range(rows * columns))
        digits = 2 if number % 4 == 3 else 9
        values = array.array("f", (round(value, digits) for value in values))
        return {"rows": rows, "columns": columns}, values.tobytes()

    frames.write(path, [matrix(number) for number in range(count)])


def pages(path, conformance):
    expected = json.loads((conformance / "html/expected.json").read_text())
    listed = [({"url": page["url"]}, gzip.decompress((conformance / "html" / page["file"]).read_bytes())) for page in expected["pages"]]
    frames.write(path, listed)


def prepare(conformance, folder):
    """Writes what is not there yet; the folder of the inputs."""
    conformance, folder = pathlib.Path(conformance), pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)

    def once(name, make, *arguments):
        target = folder / name
        if not target.exists():
            part = target.with_suffix(".part")
            make(part, *arguments)
            part.rename(target)

    if not all((folder / name).exists() for name in ("records.warc.gz", "pages.warc.gz")):
        every = records(conformance)
        once("records.warc.gz", archive, every)
        once("pages.warc.gz", archive, [record for record in every if is_page(record[1])])
    once("blocks.frames", blocks, conformance)
    once("pictures.frames", pictures)
    for rows, columns, count in ((10, 40, 400), (50, 200, 40), (200, 800, 4)):
        once(f"matrices-{rows}x{columns}.frames", matrices, rows, columns, count)
    once("html.frames", pages, conformance)
    return folder
