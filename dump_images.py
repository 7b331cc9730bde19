"""Save every method's map of every image in a folder, drawn over the image, in results/.

    python dump_images.py                          the sample scenes, with the embedded model
    python dump_images.py photos --model ResNet50

This is `keras-explainable dump`, run from here without installation. `--help` lists the options.
"""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    source = str(Path(__file__).resolve().parent / "src")
    sys.path.insert(0, source)
    # For the process that `--backend` restarts.
    os.environ["PYTHONPATH"] = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
    from keras_explainable.cli import main

    sys.argv[1:1] = ["dump", "--out", "results"]  # a later --out replaces it
    main()
