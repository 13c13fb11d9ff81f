#!/usr/bin/env python3
"""Films whose every picture carries its own number, and what a window of one should show.

marks.py film CODEC SECONDS OUT     makes one: 25 pictures a second, B-frames; the number stands in the
                                    picture as 16 black or white bars. h264: a key frame each second, closed
                                    GOPs; hevc: each 27 pictures, with pictures shown before their key frame
marks.py shown FILE...              the numbers that the files show when decoded, in order, one a line
marks.py check FILM START FROM TO SLICE FILE...
    The film's picture 0 lies at START. The FILEs must show exactly the pictures that the window [FROM, TO)
    has by the edge rule: per slice from the first key frame at or after FROM, without pictures shown before
    it, in decode order up to the first picture at or after TO. Times in nanoseconds.
"""
import json
import subprocess
import sys

BARS, SIDE, RATE = 16, 16, 25
FRAME = 1_000_000_000 // RATE


def film(codec, seconds, out):
    bits = f"if(mod(floor(N/pow(2,floor(X/{SIDE}))),2),235,16)"
    args = {
        "h264": ["-c:v", "libx264", "-preset", "veryfast", "-bf", "3", "-b_strategy", "0", "-x264-params",
                 f"keyint={RATE}:min-keyint={RATE}:scenecut=0"],
        "hevc": ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params",
                 f"log-level=error:keyint={RATE + 2}:min-keyint=1:scenecut=0:bframes=3:b-adapt=0:open-gop=1"],
    }[codec]
    subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", "-f", "lavfi", "-i",
                    f"color=black:size={BARS * SIDE}x64:rate={RATE}:duration={seconds},format=yuv420p,"
                    f"geq=lum='{bits}':cb=128:cr=128", *args, "-pix_fmt", "yuv420p", out], check=True)


def shown(name):
    raw = subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-xerror", "-i", name, "-map", "0:v", "-vsync",
                          "passthrough", "-f", "rawvideo", "-pix_fmt", "gray", "-"], check=True,
                         stdout=subprocess.PIPE).stdout
    width, size = BARS * SIDE, BARS * SIDE * 64
    assert raw and len(raw) % size == 0, (name, len(raw))
    row = 32 * width + SIDE // 2
    return [sum((raw[at + row + k * SIDE] > 128) << k for k in range(BARS)) for at in range(0, len(raw), size)]


def wanted(name, start, first, end, slice_ns):
    packets = json.loads(subprocess.run(
        ["ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "packet=pts_time,flags", "-of", "json",
         name], check=True, stdout=subprocess.PIPE).stdout)["packets"]
    numbers = [(round(float(p["pts_time"]) * RATE), "K" in p["flags"]) for p in packets]
    zero = min(n for n, _ in numbers)
    out, edge, where = [], None, None
    for n, key in numbers:
        t = start + (n - zero) * FRAME
        if key and t >= first and t // slice_ns != where:
            edge, where = t, t // slice_ns  # a file begins here
        if edge is None:
            continue
        if t >= end:
            break
        if t >= edge:
            out.append(n - zero)
    return sorted(out)


def check(name, start, first, end, slice_ns, files):
    got = [n for f in files for n in shown(f)]
    want = wanted(name, start, first, end, slice_ns)
    outside = [n for n in got if not first <= start + n * FRAME < end]
    assert not outside, f"pictures from outside the window: {outside}"
    assert want and got == want, f"shown {got}\nwanted {want}"
    print(f"{len(got)} pictures, {got[0]} to {got[-1]}")


if sys.argv[1] == "film":
    film(*sys.argv[2:5])
elif sys.argv[1] == "shown":
    print(*(n for f in sys.argv[2:] for n in shown(f)), sep="\n")
else:
    check(sys.argv[2], *map(int, sys.argv[3:7]), sys.argv[7:])
