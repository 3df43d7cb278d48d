"""Times the other side of a comparison: the same protocol as `weft-bench TOPIC FILE REPEATS`."""

import hashlib
import json
import sys
import time

from frames import read


class Output:
    def __init__(self):
        self.count, self.bytes, self.hashes, self.columns = 0, 0, [], []

    def check(self):
        columns = ";".join(" ".join(str(column) for column in columns) for columns in self.columns)
        digest = hashlib.sha256(("".join(self.hashes) + columns).encode()).hexdigest()
        return f"{self.count} counted, {self.bytes} bytes, {digest[:16]}"


def warc(path):
    # Bodies are de-chunked and decoded, as ours are.
    from fastwarc.warc import ArchiveIterator

    def once(output):
        for record in ArchiveIterator(path, parse_http=True, auto_decode="all"):
            output.count += 1
            output.bytes += len(record.reader.read())

    return once


def warc_undecoded(path):
    from fastwarc.warc import ArchiveIterator

    def once(output):
        for record in ArchiveIterator(path, parse_http=True):
            output.count += 1
            output.bytes += len(record.reader.read())

    return once


def phash(path):
    import imagehash
    from PIL import Image

    pictures = [Image.frombytes("RGB", (head["columns"], head["rows"]), pixels) for head, pixels in read(path)]

    def once(output):
        hashes = [imagehash.phash(picture) for picture in pictures]
        output.hashes = [str(found) for found in hashes]

    return once


def assignment(path):
    import numpy
    from scipy.optimize import linear_sum_assignment

    # In the solver's own type: it is spared the conversion that ours makes.
    matrices = [
        numpy.frombuffer(values, "<f4").reshape(head["rows"], head["columns"]).astype("f8") for head, values in read(path)
    ]

    def once(output):
        output.columns = [linear_sum_assignment(matrix, maximize=True)[1] for matrix in matrices]

    return once


def images(path):
    import lxml.html

    pages = [page for _, page in read(path)]

    def once(output):
        for page in pages:
            tree = lxml.html.fromstring(page)
            sources = [image.get("src") for image in tree.iter("img")]
            output.count += sum(1 for source in sources if source and source.strip())

    return once


def main():
    topic, path, repeats = sys.argv[1:]
    once = globals()[topic.replace("-", "_")](path)
    for _ in sys.stdin:
        cpu_begin, begin = time.process_time(), time.perf_counter()
        for _ in range(int(repeats)):
            output = Output()
            once(output)
        seconds = time.perf_counter() - begin
        cpu_seconds = time.process_time() - cpu_begin
        print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "check": output.check()}), flush=True)


if __name__ == "__main__":
    main()
