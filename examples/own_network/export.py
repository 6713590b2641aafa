"""Export a network that is in memory, with the frames and labels of its test."""

import numpy as np
import torch
from bars import CLASSES, frames, record
from net import BarNet

import tcja_deploy

net = BarNet()
net.load_state_dict(torch.load("weights.pth", weights_only=True))
rng = np.random.default_rng(1)
labels = np.arange(40) % 4
windows = np.stack([frames(record(label, rng)) for label in labels])  # [N, T, P, H, W]
result = tcja_deploy.export(
    net, data=(windows, labels), layout="TN", split="number", classes=CLASSES, target="onnx", out="bars.bundle"
)
print(result)
