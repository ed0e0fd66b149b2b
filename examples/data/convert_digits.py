"""Create digits.safetensors from the copy of the data that scikit-learn installs.

Nothing needs this at run time; it documents how the file in this folder was made. Where scikit-learn
is installed, `python examples/data/convert_digits.py OUT` writes the same tensors and prints whether
they equal that file.
"""

import argparse
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file
from sklearn.datasets import load_digits

SHIPPED = Path(__file__).with_name("digits.safetensors")
METADATA = {
    "title": "Optical Recognition of Handwritten Digits, test set",
    "creators": "E. Alpaydin, C. Kaynak",
    "source": "https://doi.org/10.24432/C50P49",
    "licence": "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/",
    "changes": "stored as uint8 tensors; the values are unchanged",
}


def main():
    parser = argparse.ArgumentParser(description="Write the digits as a safetensors file.")
    parser.add_argument("out", type=Path, help="the file to write")
    out = parser.parse_args().out

    digits = load_digits()
    tensors = {
        "images": np.ascontiguousarray(digits.images, dtype=np.uint8),  # (1797, 8, 8), 0 to 16
        "labels": np.ascontiguousarray(digits.target, dtype=np.uint8),  # (1797,), 0 to 9
    }
    save_file(tensors, out, metadata=METADATA)
    out.chmod(0o644)  # safetensors 0.8 makes the file readable only by its owner

    if SHIPPED.exists():
        shipped = load_file(SHIPPED)
        same = all(np.array_equal(tensors[name], shipped[name]) for name in tensors)
        print(f"{out}: {'equal to' if same else 'DIFFERENT from'} {SHIPPED.name}")


if __name__ == "__main__":
    main()
