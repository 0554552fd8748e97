"""`python -m panorama_driver.study STUDY.YML`: the study server, as the driver starts it."""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    os.closerange(3, 1024)  # descriptors of Dakota's that the driver has inherited
    from ..errors import PanoramaError
    from .server import main

    study_file = Path(sys.argv[1]).resolve()
    os.chdir(study_file.parent)  # not in the work directory of one evaluation, which Dakota may remove
    try:
        main(study_file)
    except PanoramaError as problem:
        sys.exit(f"panorama study server: {problem}")
