"""Train the network on recordings that are made while it trains, and save its weights."""

import numpy as np
import torch
from bars import frames, record
from net import BarNet
from spikingjelly.activation_based import functional

torch.manual_seed(0)
rng = np.random.default_rng(0)
labels = torch.arange(200) % 4
windows = torch.from_numpy(np.stack([frames(record(int(label), rng)) for label in labels], axis=1))  # [T, N, 2, 16, 16]
net = BarNet()
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
for epoch in range(10):
    for part in torch.randperm(200).split(50):
        loss = torch.nn.functional.mse_loss(net(windows[:, part]), torch.nn.functional.one_hot(labels[part], 4).float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        functional.reset_net(net)
    print(f"epoch {epoch + 1}: loss {loss.item():.4f}")
torch.save(net.state_dict(), "weights.pth")
