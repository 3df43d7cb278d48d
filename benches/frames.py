"""Files of frames: one JSON line, and as many bytes as it states."""

import json


def write(path, frames):
    with open(path, "wb") as file:
        for head, content in frames:
            file.write(json.dumps({**head, "bytes": len(content)}).encode() + b"\n" + content)


def read(path):
    frames = []
    with open(path, "rb") as file:
        while line := file.readline():
            head = json.loads(line)
            frames.append((head, file.read(head["bytes"])))
    return frames
