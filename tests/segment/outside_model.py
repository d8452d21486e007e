"""A model outside: reads an image, marks what is denser than a threshold, and misbehaves on request. Run as a script."""

from __future__ import annotations

import argparse
import mmap
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import numpy as np
import SimpleITK as sitk


def labels_of(image: sitk.Image, above_hu: float) -> sitk.Image:
    """1 for lung, 2 for what is denser than the threshold, on the image's grid."""
    hu = sitk.GetArrayFromImage(image)
    labels = sitk.GetImageFromArray(np.where(hu > above_hu, 2, 1).astype(np.uint8))
    labels.CopyInformation(image)
    return labels


def spoil(labels: sitk.Image, how: str) -> sitk.Image:
    """The labels on a wrong grid, empty, or no labels at all."""
    if how == "shifted":
        labels.SetOrigin([v + 5.0 for v in labels.GetOrigin()])
    elif how == "flipped":
        return sitk.Flip(labels, (True, False, False))
    elif how == "coarse":
        return sitk.Shrink(labels, (2, 2, 2))
    elif how == "empty":
        return labels * 0
    elif how == "probabilities":
        return sitk.Cast(labels, sitk.sitkFloat32) * 0.3
    elif how == "whole-floats":
        return sitk.Cast(labels, sitk.sitkFloat64)
    elif how == "negative":
        return sitk.Cast(labels, sitk.sitkInt16) - 3
    elif how == "vector":
        return sitk.Compose(labels, labels)
    return labels


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("input", nargs="?")
    parser.add_argument("output", nargs="?")
    parser.add_argument("--above-hu", type=float, default=-400.0)
    parser.add_argument("--mode", default="well")
    parser.add_argument("--log", help="a line is added to this file at every run")
    parser.add_argument("--version", action="store_true")
    asked = parser.parse_args()
    if asked.version:
        sys.stdout.write("outside-model 1.2.3\n")
        return
    if asked.log:
        with Path(asked.log).open("a") as log:
            log.write(f"{os.getpid()} {os.environ.get('TMPDIR')} {sorted(os.environ)}\n")
    if asked.mode == "crash":
        sys.stdout.write("loading the model\n")
        sys.stderr.write(f"ValueError: series 1.2.840.113654.2.55.1234 of 2001-02-03 in {asked.input} is odd\n")
        sys.stderr.write(" 45%|####      | 9/20 [00:01<00:02, 4.2it/s]\n")
        sys.exit(3)
    if asked.mode == "killed":
        os.kill(os.getpid(), 11)
    if asked.mode == "no-memory":
        raise MemoryError
    if asked.mode in ("hang", "hang-apart"):
        child = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=asked.mode == "hang-apart"
        )
        with Path(asked.log).open("a") as log:
            log.write(f"child {child.pid}\n")
        time.sleep(600)
    if asked.mode == "leave-child":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
        with Path(asked.log).open("a") as log:
            log.write(f"child {child.pid}\n")
    if asked.mode in ("eat", "eat-in-child"):
        if asked.mode == "eat-in-child":
            subprocess.run([sys.executable, __file__, "x", "y", "--mode", "eat"], check=False)
            return
        held = []
        for _ in range(100):
            held.append(np.ones(5_000_000))  # 40 MB, filled
            time.sleep(0.02)
        return
    if asked.mode == "reserve":  # addresses without memory, as PyTorch does
        with mmap.mmap(-1, 2**37, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=0):
            time.sleep(0.5)
    if asked.mode == "fetch":
        urllib.request.urlopen("https://weights.invalid/model.pt", timeout=20)
    if asked.mode == "nothing":
        return
    if asked.mode == "damaged":
        sitk.WriteImage(labels_of(sitk.ReadImage(asked.input), asked.above_hu), asked.output)
        whole = Path(asked.output).read_bytes()
        Path(asked.output).write_bytes(whole[: len(whole) // 2])
        return
    sitk.WriteImage(spoil(labels_of(sitk.ReadImage(asked.input), asked.above_hu), asked.mode), asked.output)


if __name__ == "__main__":
    main()
