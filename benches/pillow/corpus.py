"""Writes seeded image files, sound and damaged, class by class. The same seed and Pillow give the same bytes."""

import io
import pathlib
import random
import shutil
import struct
import subprocess

import numpy
from PIL import Image


def picture(rng, width, height, mode="RGB"):
    """Waves, boxes and noise: something for every frequency."""
    y, x = numpy.mgrid[0:height, 0:width].astype(float)
    planes = []
    for _ in range({"L": 1, "RGB": 3, "CMYK": 4, "RGBA": 4}[mode]):
        plane = numpy.full((height, width), rng.uniform(60, 200))
        for _ in range(4):
            angle, length = rng.uniform(0, 6.3), rng.uniform(3, 90)
            wave = numpy.sin((x * numpy.cos(angle) + y * numpy.sin(angle)) / length * 6.3 + rng.uniform(0, 6.3))
            plane += rng.uniform(5, 40) * wave
        planes.append(plane)
    for _ in range(6):
        left, top = rng.randrange(width), rng.randrange(height)
        right, bottom = left + rng.randrange(1, width // 2 + 2), top + rng.randrange(1, height // 2 + 2)
        for plane in planes:
            plane[top:bottom, left:right] = rng.uniform(0, 255)
    noise = numpy.random.default_rng(rng.randrange(1 << 30))
    planes = [plane + noise.normal(0, 6, plane.shape) for plane in planes]
    values = numpy.clip(numpy.stack(planes, -1), 0, 255).astype(numpy.uint8)
    return Image.fromarray(values[:, :, 0] if mode == "L" else values, mode)


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def tool(command, stdin):
    """The output of a tool of libjpeg-turbo's, or None where it is not installed."""
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(command, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    return done.stdout if done.returncode == 0 else None


def ppm(image):
    return saved(image, "PPM")


# --- damage --------------------------------------------------------------------------------------------------------


def truncated(rng, data):
    return data[: rng.randrange(4, len(data))]


def truncated_near_end(rng, data):
    return data[: len(data) - rng.randrange(1, min(len(data) - 4, 40))]


def flipped(rng, data, start=0):
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        data[rng.randrange(start, len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def overwritten(rng, data, start=0):
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        data[rng.randrange(start, len(data))] = rng.choice([0, 0xFF, rng.randrange(256)])
    return bytes(data)


def cut_out(rng, data, start=0):
    at = rng.randrange(start, len(data) - 1)
    return data[:at] + data[at + rng.choice([1, 2, 7, 100, 1000]) :]


def put_in(rng, data, start=0):
    at = rng.randrange(start, len(data))
    return data[:at] + rng.randbytes(rng.choice([1, 2, 9, 200])) + data[at:]


def zeroed(rng, data, start=0):
    at = rng.randrange(start, len(data))
    length = min(rng.choice([4, 50, 1000]), len(data) - at)
    return data[:at] + bytes(length) + data[at + length :]


DAMAGE = [truncated, truncated_near_end, flipped, overwritten, cut_out, put_in, zeroed]


# --- JPEG ----------------------------------------------------------------------------------------------------------


def segments(data):
    """(marker, bytes with the marker) of a sound JPEG; entropy-coded data belongs to its SOS."""
    at, found = 2, [(0xD8, data[:2])]
    while at < len(data):
        marker = data[at + 1]
        end = at + 2 if marker == 0xD9 else at + 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
        if marker == 0xDA:
            while not (data[end] == 0xFF and data[end + 1] not in (0, *range(0xD0, 0xD8))):
                end += 1
        found.append((marker, data[at:end]))
        at = end
    return found


def joined(parts):
    return b"".join(part for _, part in parts)


def entropy_start(data):
    """Where the first scan's data begins."""
    at = 0
    for marker, part in segments(data):
        if marker == 0xDA:
            return at + 2 + struct.unpack(">H", part[2:4])[0]
        at += len(part)
    raise ValueError("no scan")


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def put_before(data, marker, extra):
    """`extra` before the first segment of this kind."""
    parts = segments(data)
    at = next(index for index, (kind, _) in enumerate(parts) if kind == marker)
    return joined(parts[:at]) + extra + joined(parts[at:])


SIZES = [(1, 1), (2, 3), (7, 5), (8, 8), (16, 16), (17, 31), (33, 64), (64, 48), (129, 97), (320, 213)]
SUBSAMPLING = ["4:4:4", "4:2:2", "4:2:0", "4:4:0", "4:1:1"]
FACTORS = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}


def jpeg(image, subsampling="4:2:0", **options):
    """By Pillow where it knows the subsampling, else by cjpeg."""
    if subsampling in FACTORS:
        return saved(image, "JPEG", subsampling=FACTORS[subsampling], **options)
    sample = {"4:4:0": "1x2", "4:1:1": "4x1", "4:1:0": "4x2", "1x4": "1x4", "2x4": "2x4", "3x1": "3x1", "1x3": "1x3"}
    command = ["cjpeg", "-quality", str(options.get("quality", 75)), "-sample", sample[subsampling]]
    command += ["-progressive"] if options.get("progressive") else []
    return tool(command, ppm(image))


def jpeg_bases(rng):
    """A few files to damage: (name, bytes)."""
    image = picture(rng, 160, 120)
    large = picture(rng, 320, 240)
    found = [
        ("baseline 4:2:0", jpeg(image, quality=85)),
        ("baseline 4:4:4", jpeg(image, "4:4:4", quality=60)),
        ("baseline 4:2:2 large", jpeg(large, "4:2:2", quality=90)),
        ("grey", saved(image.convert("L"), "JPEG", quality=80)),
        ("optimised", jpeg(image, quality=75, optimize=True)),
        ("restarts", jpeg(image, quality=80, restart_marker_blocks=3)),
        ("restart rows", jpeg(large, quality=80, restart_marker_rows=1)),
        ("progressive", jpeg(image, quality=85, progressive=True)),
        ("progressive 4:4:4", jpeg(image, "4:4:4", quality=75, progressive=True)),
        ("progressive grey", saved(large.convert("L"), "JPEG", quality=75, progressive=True)),
        ("progressive restarts", jpeg(image, quality=75, progressive=True, restart_marker_blocks=4)),
        ("CMYK", saved(picture(rng, 100, 80, "CMYK"), "JPEG", quality=80)),
    ]
    for name, command in [
        ("arithmetic", ["cjpeg", "-arithmetic", "-quality", "80"]),
        ("arithmetic progressive", ["cjpeg", "-arithmetic", "-progressive", "-quality", "80"]),
        ("arithmetic restarts", ["cjpeg", "-arithmetic", "-restart", "2", "-quality", "80"]),
    ]:
        found.append((name, tool(command, ppm(image))))
    found.append(("separate scans", jpeg_scans(image, "0;\n1;\n2;\n")))
    return [(name, data) for name, data in found if data]


def jpeg_scans(image, script, *options):
    """A file with the scans of a script, as cjpeg reads them."""
    import tempfile

    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(script)
        file.flush()
        return tool(["cjpeg", "-scans", file.name, *options], ppm(image))


def sound_jpegs(rng):
    for width, height in SIZES:
        image = picture(rng, width, height)
        for subsampling in [*SUBSAMPLING, "4:1:0", "1x4", "2x4", "3x1", "1x3"]:
            for progressive in (False, True):
                quality = rng.choice([30, 75, 92, 100])
                data = jpeg(image, subsampling, quality=quality, progressive=progressive)
                name = "progressive" if progressive else "baseline"
                if data:
                    yield f"jpeg sound, {name}", data
        for progressive in (False, True):
            grey = saved(image.convert("L"), "JPEG", progressive=progressive, quality=80)
            yield "jpeg sound, grey", grey
            yield "jpeg sound, RGB", saved(image, "JPEG", keep_rgb=True, progressive=progressive, quality=85)
            inks = picture(rng, width, height, "CMYK")
            yield "jpeg sound, CMYK", saved(inks, "JPEG", progressive=progressive, quality=85)
            for subsampling in (0, 1, 2):
                options = {"subsampling": subsampling, "progressive": progressive}
                yield "jpeg sound, restarts", saved(image, "JPEG", restart_marker_blocks=2, **options)
                yield "jpeg sound, restarts", saved(image, "JPEG", restart_marker_rows=1, optimize=True, **options)
        for options in (["-arithmetic"], ["-arithmetic", "-progressive"], ["-arithmetic", "-restart", "1"]):
            for sample in ("1x1", "2x1", "2x2"):
                yield "jpeg sound, arithmetic", tool(["cjpeg", "-sample", sample, *options], ppm(image))
        yield "jpeg sound, arithmetic", tool(["cjpeg", "-arithmetic", "-grayscale"], ppm(image))
        for script in ("0;\n1;\n2;\n", "0 1;\n2;\n", "2;\n0;\n1;\n"):
            for sample in ("1x1", "2x2", "2x1"):
                yield "jpeg sound, separate scans", jpeg_scans(image, script, "-sample", sample)
        yield "jpeg, 12 bit", tool(["cjpeg", "-precision", "12"], ppm(image))


def ycck(data):
    """A CMYK file whose Adobe segment says that it is YCCK."""
    parts = [(m, p[:15] + b"\x02" + p[16:] if m == 0xEE else p) for m, p in segments(data)]
    return joined(parts)


def renamed(data, names):
    """A file whose components 1, 2 and 3 have other names."""
    parts = []
    for kind, part in segments(data):
        part = bytearray(part)
        if kind in (0xC0, 0xC2):
            part[10], part[13], part[16] = names
        elif kind == 0xDA:
            for at in range(5, 5 + 2 * part[4], 2):
                part[at] = names[part[at] - 1]
        parts.append((kind, bytes(part)))
    return joined(parts)


def odd_jpegs(rng):
    """Files that break a rule of the format, one at a time, without harm to their scans."""
    for width, height in [(64, 48), (129, 97), (160, 120)]:
        image = picture(rng, width, height)
        for progressive in (False, True):
            data = jpeg(image, quality=80, progressive=progressive)
            parts = segments(data)
            frame = next(part for kind, part in parts if kind in (0xC0, 0xC2))
            tables = [part for kind, part in parts if kind == 0xC4]
            yield "jpeg odd, garbage behind", data + rng.randbytes(rng.choice([1, 100, 70000]))
            yield "jpeg odd, garbage behind", data + data
            yield "jpeg odd, garbage behind", data + bytes(100)
            yield "jpeg odd, no end marker", data[:-2]
            yield "jpeg odd, no end marker", data[:-2] + b"\n"
            yield "jpeg odd, no end marker", data[:-2] + bytes(20)
            yield "jpeg odd, no end marker", data[:-2] + rng.randbytes(300)
            yield "jpeg odd, no end marker", data[:-1]
            yield "jpeg odd, no end marker", data[:-2] + b"\xff\xd3"
            for kind in (0xDB, 0xC4, 0xDA, 0xC0 if not progressive else 0xC2):
                for junk in (b"\0", b"ab", b"\xff", b"\xff\xff\xff", b"\xff\0", rng.randbytes(9), b"\xff\x01"):
                    yield "jpeg odd, garbage before a segment", put_before(data, kind, junk)
                for marker in (0xD8, 0xD9, 0xD0, 0xF0, 0x02, 0xC8, 0xDC, 0xDE, 0xBF):
                    yield "jpeg odd, a marker out of place", put_before(data, kind, bytes([0xFF, marker]))
                yield "jpeg odd, a table twice", put_before(data, kind, frame)
                yield "jpeg odd, a table twice", put_before(data, kind, tables[0])
                for length in (0, 1, 2, 3):
                    extra = b"\xff\xe5" + struct.pack(">H", length) + b"x" * max(0, length - 2)
                    yield "jpeg odd, short segments", put_before(data, kind, extra)
                    yield "jpeg odd, short segments", put_before(data, kind, extra.replace(b"\xe5", b"\xfe"))
                    yield "jpeg odd, short segments", put_before(data, kind, extra.replace(b"\xe5", b"\xe0"))
                for body in (b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + rng.randbytes(60), b"Exif"):
                    yield "jpeg odd, metadata", put_before(data, kind, segment(0xE1, body))
                for body in (
                    b"ICC_PROFILE\0", b"ICC_PROFILE\0\1", b"ICC_PROFILE\0\1\2", b"ICC_PROFILE\0\1\1" + rng.randbytes(99),
                    b"ICC_PROFILE", b"MPF\0", b"MPF\0II*\0\x08\0\0\0", b"MPF\0" + rng.randbytes(30),
                ):
                    yield "jpeg odd, metadata", put_before(data, kind, segment(0xE2, body))
                for body in (
                    b"Photoshop 3.0\0", b"Photoshop 3.0\x008BIM", b"Photoshop 3.0\x008BIM\x03\xed",
                    b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0\0\x10" + bytes(16),
                    b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0\0\x10" + bytes(5),
                    b"Photoshop 3.0\x008BIM\x04\x04\x05", b"Photoshop 3.0\x008BIM\x04\x04\0\0\xff\xff\xff\xff",
                ):
                    yield "jpeg odd, metadata", put_before(data, kind, segment(0xED, body))
                for body in (b"JFIF", b"JFIF\0", b"JFIF\0\1\1", b"JFIF\0\1\1\0\0\1\0\1\0\0", b"JFXX\0\x10"):
                    yield "jpeg odd, metadata", put_before(data, kind, segment(0xE0, body))
                for transform in (0, 1, 2, 3, 255):
                    body = b"Adobe\0\x64\0\0\0\0" + bytes([transform])
                    yield "jpeg odd, Adobe", put_before(data, kind, segment(0xEE, body))
                    bare = joined([part for part in parts if part[0] != 0xE0])
                    yield "jpeg odd, Adobe", put_before(bare, kind, segment(0xEE, body))
                for body in (b"Adobe", b"Adobe\0\x64", b"Adobe\0\x64\0\0"):
                    yield "jpeg odd, Adobe", put_before(data, kind, segment(0xEE, body))
            yield "jpeg odd, no Huffman tables", joined([part for part in parts if part[0] != 0xC4])
            yield "jpeg odd, no Huffman tables", joined([part for part in parts if part[1] != tables[-1]])
            yield "jpeg odd, no quantisation", joined([part for part in parts if part[0] != 0xDB])
            yield "jpeg odd, one segment missing", joined(parts[1:])
            for index in range(1, len(parts)):
                yield "jpeg odd, one segment missing", joined(parts[:index] + parts[index + 1 :])
                yield "jpeg odd, segments swapped", joined(
                    parts[: index - 1] + [parts[index], parts[index - 1]] + parts[index + 1 :]
                )
            for at in range(len(parts)):
                yield "jpeg odd, ends between segments", joined(parts[: at + 1])
                yield "jpeg odd, ends between segments", joined(parts[: at + 1]) + b"\xff\xd9"
            for height_px in (0, 1, height - 9, height + 1, height + 40, 3 * height):
                changed = frame[:5] + struct.pack(">H", height_px) + frame[7:]
                yield "jpeg odd, another height", data.replace(frame, changed)
                dnl = segment(0xDC, struct.pack(">H", height))
                yield "jpeg odd, another height", data.replace(frame, changed)[:-2] + dnl + b"\xff\xd9"
            for width_px in (1, width - 9, width + 1, width + 40):
                changed = frame[:7] + struct.pack(">H", width_px) + frame[9:]
                yield "jpeg odd, another width", data.replace(frame, changed)
            for at, values in ((4, (7, 12, 16)), (9, (1, 2, 4)), (11, (0x11, 0x12, 0x21, 0x31, 0x44, 0x01, 0x51)),
                               (14, (0x11, 0x21, 0x22, 0x31)), (12, (1, 3, 5)), (10, (0, 82, 2)), (1, (*range(0xC0, 0xD0),))):
                for value in values:
                    changed = bytearray(frame)
                    changed[at] = value
                    yield "jpeg odd, another frame header", data.replace(frame, bytes(changed))
            named = renamed(data, b"RGB")
            yield "jpeg odd, components named RGB", named
            yield "jpeg odd, components named RGB", joined([part for part in segments(named) if part[0] != 0xE0])
            named = renamed(data, b"\0\1\2")
            yield "jpeg odd, components named otherwise", joined([part for part in segments(named) if part[0] != 0xE0])
        inks = saved(picture(rng, width, height, "CMYK"), "JPEG", quality=85)
        yield "jpeg odd, Adobe", ycck(inks)
        yield "jpeg odd, Adobe", joined([part for part in segments(inks) if part[0] != 0xEE])
        for interval in (1, 2, 7, 1000):
            dri = segment(0xDD, struct.pack(">H", interval))
            yield "jpeg odd, wrong restart interval", put_before(jpeg(image), 0xDA, dri)
            yield "jpeg odd, wrong restart interval", put_before(jpeg(image, progressive=True), 0xDA, dri)
            restarted = jpeg(image, restart_marker_blocks=3)
            yield "jpeg odd, wrong restart interval", put_before(restarted, 0xDA, dri)
        yield from odd_restarts(rng, image)
        yield from odd_scans(rng, image)


def odd_restarts(rng, image):
    """Restart markers missing, doubled, renumbered."""
    for options in ({"restart_marker_blocks": 2}, {"restart_marker_rows": 1}, {"restart_marker_blocks": 5}):
        for progressive in (False, True):
            data = jpeg(image, quality=85, progressive=progressive, **options)
            marks = [at for at in range(entropy_start(data), len(data) - 1)
                     if data[at] == 0xFF and 0xD0 <= data[at + 1] <= 0xD7]
            if not marks:
                continue
            for _ in range(6):
                at = rng.choice(marks)
                other = bytes([0xFF, 0xD0 + rng.randrange(8)])
                yield "jpeg odd, restart markers", data[:at] + data[at + 2 :]
                yield "jpeg odd, restart markers", data[:at] + other + data[at + 2 :]
                yield "jpeg odd, restart markers", data[:at] + other + data[at:]
                end = rng.choice(marks)
                yield "jpeg odd, restart markers", data[: min(at, end)] + data[max(at, end) :]


SCRIPTS = {
    "0,1,2: 0-0,0,0;\n": "DC alone",
    "0,1,2: 0-0,0,1;\n": "DC cut",
    "0,1,2: 0-0,0,1;\n0: 1-5,0,2;\n": "some AC",
    "0,1,2: 0-0,0,0;\n0: 1-5,0,0;\n": "low AC",
    "0,1,2: 0-0,0,1;\n0: 1-63,0,1;\n1: 1-63,0,1;\n2: 1-63,0,1;\n": "no refinement",
    "0,1,2: 0-0,0,0;\n0: 1-63,0,0;\n": "no chroma AC",
    "0: 0-0,0,0;\n1: 0-0,0,0;\n2: 0-0,0,0;\n0: 1-2,0,0;\n": "separate DC",
}


def odd_scans(rng, image):
    """Progressive files with scans dropped, swapped, doubled, cut short, or with other parameters."""
    for script, _ in SCRIPTS.items():
        for sample in ("1x1", "2x2", "2x1"):
            data = jpeg_scans(image, script, "-sample", sample)
            if data:
                yield "jpeg odd, incomplete progression", data
    for subsampling in ("4:4:4", "4:2:0"):
        data = jpeg(image, subsampling, quality=80, progressive=True)
        parts = segments(data)
        scans = [index for index, (kind, _) in enumerate(parts) if kind == 0xDA]
        for index in scans:
            yield "jpeg odd, progressive scans", joined(parts[:index] + parts[index + 1 :])
            yield "jpeg odd, progressive scans", joined(parts[: index + 1]) + b"\xff\xd9"
            other = rng.choice(scans)
            yield "jpeg odd, progressive scans", joined(parts[: index + 1] + [parts[other]] + parts[index + 1 :])
            kind, part = parts[index]
            head = 2 + struct.unpack(">H", part[2:4])[0]
            for _ in range(4):
                keep = rng.randrange(head, len(part))
                cut = [(kind, part[:keep].rstrip(b"\xff"))]
                yield "jpeg odd, progressive scans", joined(parts[:index] + cut + parts[index + 1 :])
                changed = bytearray(part)
                changed[rng.choice([head - 1, head - 2, head - 3])] = rng.choice([0, 1, 5, 63, 0x10, 0x21, 0x32, 0xD0])
                yield "jpeg odd, progressive scans", joined(parts[:index] + [(kind, bytes(changed))] + parts[index + 1 :])


def damaged_jpegs(rng, scale):
    bases = jpeg_bases(rng)
    for name, data in bases:
        start = entropy_start(data)
        for _ in range(int(30 * scale)):
            yield f"jpeg damaged, scans, {name}", rng.choice([flipped, overwritten, cut_out, put_in, zeroed])(
                rng, data[:-2], start
            ) + b"\xff\xd9"
        for _ in range(int(8 * scale)):
            yield "jpeg truncated", truncated(rng, data)
            yield "jpeg truncated near the end", truncated_near_end(rng, data)
            head = rng.choice([flipped, overwritten, cut_out, put_in])(rng, data[:start])
            yield "jpeg damaged, headers", head + data[start:]


# --- other formats -------------------------------------------------------------------------------------------------


def sound_others(rng):
    for width, height in [(1, 1), (7, 5), (33, 64), (129, 97)]:
        image = picture(rng, width, height)
        grey, clear = image.convert("L"), picture(rng, width, height, "RGBA")
        deep = Image.fromarray((numpy.asarray(grey).astype(numpy.uint16) * 201))
        palette = image.quantize(rng.choice([2, 4, 16, 200]))
        two = image.convert("1")
        for shown in (image, grey, clear, deep, palette, two, clear.convert("LA")):
            yield "png sound", saved(shown, "PNG", compress_level=rng.choice([0, 1, 9]))
        yield "png sound", saved(palette, "PNG", transparency=1)
        yield "png sound", saved(palette, "PNG", transparency=bytes([0, 99, 255]))
        yield "png sound", saved(image, "PNG", transparency=(1, 2, 3))
        yield "png sound", saved(grey, "PNG", transparency=7)
        yield "png sound", saved(clear, "PNG", save_all=True, append_images=[clear.rotate(90)], duration=50)
        yield "png sound", saved(image, "PNG", save_all=True, append_images=[image.rotate(9)], default_image=True)
        yield "gif sound", saved(image, "GIF")
        yield "gif sound", saved(grey, "GIF", interlace=rng.randrange(2))
        yield "gif sound", saved(palette, "GIF", transparency=0)
        yield "gif sound", saved(palette, "GIF", save_all=True, append_images=[palette.rotate(5)], disposal=2)
        yield "gif sound", saved(two, "GIF")
        for options in ({"quality": 70}, {"lossless": True}, {"quality": 20, "method": 6}, {"exact": True}):
            yield "webp sound", saved(image, "WEBP", **options)
            yield "webp sound", saved(clear, "WEBP", **options)
        yield "webp sound", saved(clear, "WEBP", save_all=True, append_images=[clear.rotate(9)])
        for shown in (image, grey, palette, two, clear):
            yield "bmp sound", saved(shown, "BMP")
            yield "tiff sound", saved(shown, "TIFF")
            for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
                yield "tiff sound", saved(shown, "TIFF", compression=compression)
        yield "tiff sound", saved(deep, "TIFF")
        yield "tiff sound", saved(two, "TIFF", compression="group4")
        yield "tiff sound", saved(image, "TIFF", compression="jpeg")
        yield "tiff sound", saved(picture(rng, width, height, "CMYK"), "TIFF")
        for subsampling in ("4:2:0", "4:4:4"):
            yield "avif sound", saved(image, "AVIF", quality=60, subsampling=subsampling)
        yield "avif sound", saved(clear, "AVIF", quality=60)
        yield "avif sound", saved(grey, "AVIF", quality=60)
        for shown in (image, grey, clear):
            yield "jp2 sound", saved(shown, "JPEG2000")
            yield "jp2 sound", saved(shown, "JPEG2000", irreversible=True, quality_layers=[20])


def damaged_others(rng, scale):
    image = picture(rng, 120, 90)
    bases = [
        ("png", saved(image, "PNG")),
        ("png", saved(image.quantize(60), "PNG")),
        ("png", saved(image.convert("L"), "PNG", compress_level=0)),
        ("gif", saved(image, "GIF")),
        ("gif", saved(image.quantize(9), "GIF", save_all=True, append_images=[image.quantize(9).rotate(9)])),
        ("webp", saved(image, "WEBP")),
        ("webp", saved(image, "WEBP", lossless=True)),
        ("webp", saved(picture(rng, 90, 70, "RGBA"), "WEBP")),
        ("bmp", saved(image, "BMP")),
        ("bmp", saved(image.quantize(60), "BMP")),
        ("tiff", saved(image, "TIFF")),
        ("tiff", saved(image, "TIFF", compression="tiff_lzw")),
        ("tiff", saved(image, "TIFF", compression="tiff_adobe_deflate")),
        ("avif", saved(image, "AVIF")),
        ("jp2", saved(image, "JPEG2000")),
    ]
    for kind, data in bases:
        for _ in range(int(20 * scale)):
            yield f"{kind} truncated", rng.choice([truncated, truncated, truncated_near_end])(rng, data)
            yield f"{kind} damaged", rng.choice(DAMAGE[2:])(rng, data)
        for _ in range(int(20 * scale)):
            yield f"{kind} damaged, headers", rng.choice([flipped, overwritten])(rng, data[:80]) + data[80:]
        yield f"{kind} garbage behind", data + rng.randbytes(100)


def write(folder, seed, scale, only):
    """Writes all files of the classes asked for; returns (class, path) of each."""
    folder = pathlib.Path(folder)
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    found = []
    # Each source has its own sequence of numbers: more files of one do not change another's.
    sources = [
        lambda rng: sound_jpegs(rng), lambda rng: odd_jpegs(rng), lambda rng: damaged_jpegs(rng, scale),
        lambda rng: sound_others(rng), lambda rng: damaged_others(rng, scale),
    ]
    for number, source in enumerate(sources):
        for name, data in source(random.Random(f"{seed} {number}")):
            if data is None or not name.startswith(only):
                continue
            path = folder / f"{len(found):05}.bin"
            path.write_bytes(data)
            found.append((name, path))
    return found
