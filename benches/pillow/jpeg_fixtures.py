"""Writes the small JPEGs of models/tests/jpeg, and what Pillow 13.0.0 (libjpeg-turbo 3.2) makes of each.

    python benches/pillow/jpeg_fixtures.py models/tests/jpeg

Needs cjpeg. `expected.txt` has a line for each file: name, width, height, and the BLAKE3 of the RGB pixels, or `refused`.
"""

import io
import pathlib
import random
import sys

import blake3
from PIL import Image

import corpus


def files():
    rng = random.Random("fixtures")
    image = corpus.picture(rng, 45, 37)
    wide = corpus.picture(rng, 70, 33)
    for subsampling in ("4:4:4", "4:2:2", "4:2:0", "4:4:0", "4:1:1", "4:1:0"):
        yield "sound-" + subsampling.replace(":", ""), corpus.jpeg(image, subsampling, quality=60)
    for width, height in ((1, 1), (2, 2), (3, 5)):
        yield f"sound-{width}x{height}", corpus.jpeg(corpus.picture(rng, width, height), quality=75)
    yield "sound-grey", corpus.saved(image.convert("L"), "JPEG", quality=50)
    yield "sound-rgb", corpus.saved(image, "JPEG", keep_rgb=True, quality=40)
    yield "sound-cmyk", corpus.saved(corpus.picture(rng, 20, 20, "CMYK"), "JPEG", quality=40)
    yield "sound-ycck", corpus.ycck(corpus.saved(corpus.picture(rng, 20, 20, "CMYK"), "JPEG", quality=40))
    progressive = corpus.jpeg(image, quality=60, progressive=True)
    yield "sound-progressive", progressive
    yield "sound-separate-scans", corpus.jpeg_scans(image, "0;\n1;\n2;\n", "-sample", "2x2", "-quality", "50")
    arithmetic = corpus.tool(["cjpeg", "-arithmetic", "-quality", "60"], corpus.ppm(image))
    yield "sound-arithmetic", arithmetic
    yield "sound-arithmetic-progressive", corpus.tool(
        ["cjpeg", "-arithmetic", "-progressive", "-quality", "60", "-restart", "2B"], corpus.ppm(image)
    )
    restarts = corpus.jpeg(wide, quality=60, restart_marker_blocks=2)
    yield "sound-restarts", restarts
    for name, script in (
        ("dc-alone", "0,1,2: 0-0,0,0;\n"), ("some-ac", "0,1,2: 0-0,0,1;\n0: 1-5,0,2;\n"),
        ("no-refinement", "0,1,2: 0-0,0,1;\n0: 1-63,0,1;\n1: 1-63,0,1;\n2: 1-63,0,1;\n"),
    ):
        yield f"unfinished-{name}", corpus.jpeg_scans(wide, script, "-sample", "2x2", "-quality", "50")
    baseline = corpus.jpeg(image, quality=60)
    for name, data in (
        ("baseline", baseline), ("progressive", progressive), ("arithmetic", arithmetic), ("restarts", restarts),
    ):
        start = corpus.entropy_start(data)
        for number in range(3):
            damaged = corpus.flipped(rng, data[:-2], start) + b"\xff\xd9"
            yield f"damaged-{name}-{number}", damaged
        yield f"damaged-{name}-zeroed", corpus.zeroed(rng, data[:-2], start) + b"\xff\xd9"
        yield f"damaged-{name}-cut", corpus.cut_out(rng, data[:-2], start) + b"\xff\xd9"
    at = restarts.index(b"\xff\xd1", corpus.entropy_start(restarts))
    yield "odd-restart-missing", restarts[:at] + restarts[at + 2 :]
    yield "odd-restart-doubled", restarts[:at] + b"\xff\xd1" + restarts[at:]
    yield "odd-restart-other", restarts[:at] + b"\xff\xd5" + restarts[at + 2 :]
    yield "odd-restart-early", restarts[:at] + b"\xff\xd2" + restarts[at + 2 :]
    tables = [part for kind, part in corpus.segments(baseline) if kind == 0xC4]
    yield "odd-no-huffman-tables", corpus.joined([part for part in corpus.segments(baseline) if part[0] != 0xC4])
    yield "odd-no-huffman-tables-progressive", corpus.joined(
        [part for part in corpus.segments(progressive) if part[1] != tables[0] and part[0] != 0xC4]
    )
    yield "odd-end-missing", baseline[:-2]
    yield "odd-end-is-another-marker", baseline[:-2] + b"\xff\xd3"
    yield "odd-end-missing-progressive", progressive[:-2]
    yield "odd-truncated", baseline[: len(baseline) * 2 // 3]
    yield "odd-two-images", baseline + baseline
    yield "odd-scan-behind", corpus.joined(corpus.segments(baseline)[:-1] + corpus.segments(baseline)[-2:])
    yield "odd-short-segment", corpus.put_before(baseline, 0xDB, b"\xff\xe5\0\0")
    yield "odd-image-within", corpus.put_before(baseline, 0xDA, b"\xff\xd8")
    yield "odd-tables-first", corpus.joined(corpus.segments(baseline)[:1] + corpus.segments(baseline)[-1:]) + baseline
    yield "odd-adobe-without-jfif", corpus.put_before(
        corpus.joined([part for part in corpus.segments(baseline) if part[0] != 0xE0]), 0xDA,
        corpus.segment(0xEE, b"Adobe\0\x64\0\0\0\0\0"),
    )
    yield "odd-photoshop-cut", corpus.put_before(baseline, 0xDB, corpus.segment(0xED, b"Photoshop 3.0\x008BIM\x04\x04"))
    yield "odd-profile-cut", corpus.put_before(baseline, 0xDB, corpus.segment(0xE2, b"ICC_PROFILE\0\1"))


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for name, data in files():
        (folder / f"{name}.jpg").write_bytes(data)
        try:
            with Image.open(io.BytesIO(data)) as image:
                rgb = image.convert("RGB")
            lines.append(f"{name} {rgb.width} {rgb.height} {blake3.blake3(rgb.tobytes()).hexdigest()}")
        except Exception:  # noqa: BLE001 - any refusal is a refusal
            lines.append(f"{name} refused")
    (folder / "expected.txt").write_text("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main()
