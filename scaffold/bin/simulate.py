#!/usr/bin/env python3
"""simulate.py MODEL CURVE: temperature, and its derivatives by rate and ambient, at each time of the model."""

import json
import math
import sys

with open(sys.argv[1]) as file:
    model = json.load(file)
rate, ambient, start = model["rate"], model["ambient"], model["start"]
with open(sys.argv[2], "w") as curve:
    for t in model["minutes"]:
        decay = math.exp(-rate * t)
        temperature = ambient + (start - ambient) * decay
        print(t, temperature, -t * (start - ambient) * decay, 1 - decay, file=curve)
