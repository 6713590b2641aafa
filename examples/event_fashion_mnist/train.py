"""Train a small TCJA-SNN of the DVS128 family on simulated event recordings of Fashion-MNIST.

    python examples/event_fashion_mnist/train.py --out build/event_fashion_mnist

ATan surrogate, rate readout, mean squared error, as in the paper. The folder receives the simulated frames,
checkpoint_latest.pth (to resume from) and, at the end, checkpoint.pth (weights only, what ships). Both have the
published scripts' layout: net, optimizer, lr_scheduler, epoch, max_test_acc. What ships is the last epoch, whatever the
others reached: no epoch is chosen by its test accuracy.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from simulate import SIDE, simulate
from torch import Tensor, nn

from tcja_exporters.modules.layers import WindowDropout
from tcja_exporters.modules.neurons import set_surrogate
from tcja_exporters.modules.surrogates import ATan
from tcja_exporters.networks.base import Attention
from tcja_exporters.networks.dvs128 import Dvs128
from tcja_exporters.networks.shared.cextnet import CextNet
from tcja_exporters.networks.shared.event_sizes import EventSizes
from tcja_runtime.data.contract import InputContract
from tcja_runtime.data.integration import integrate
from tcja_runtime.events import InMemory

sys.path.append(str(Path(__file__).parents[1] / "fashion_mnist"))
from idx import DEBIAN, load

SEEDS = {"train": 1, "t10k": 0}
"""Of the cameras' imperfections; 0 is what simulate.py takes, so that its recordings are the ones tested on."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=DEBIAN, help="folder of the IDX files (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the frames and checkpoints")
    parser.add_argument("--resume", action="store_true", help="go on from OUT/checkpoint_latest.pth")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--time-steps", type=int, default=8)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--kernel-t", type=int, default=4, help="TCJA kernels over channels")
    parser.add_argument("--kernel-c", type=int, default=4, help="TCJA kernels over time")
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
    TimeRemainingColumn(),
)


def frames(
    path: Path, images: npt.NDArray[np.uint8], seed: int, time_steps: int, console: Console
) -> npt.NDArray[np.uint8]:
    """Frames [N, T, 2, 32, 32] of simulated recordings of images [N, 28, 28], from the file if they are there."""
    if path.exists():
        found: npt.NDArray[np.uint8] = np.load(path)
        if found.shape[:2] == (len(images), time_steps):
            return found
    contract = InputContract.frames(time_steps, SIDE, SIDE)
    counts = np.empty((len(images), time_steps, 2, SIDE, SIDE), np.uint8)
    with Progress(*COLUMNS, console=console, transient=True, disable=not console.is_terminal) as progress:
        recordings = progress.track(simulate(images, seed=seed), total=len(images), description=f"simulating {path}")
        for recording, events in enumerate(recordings):
            counts[recording] = integrate(InMemory([events]), contract).windows[0]
    np.save(path, counts)
    return counts


@torch.no_grad()
def accuracy(net: nn.Module, counts: Tensor, labels: Tensor, device: str) -> float:
    """Share of recordings' frames [N, T, 2, 32, 32] whose highest rate is at the label [N]."""
    net.eval()
    right = sum(
        int((net(x.to(device).float()).argmax(1) == y.to(device)).sum())
        for x, y in zip(counts.split(100), labels.split(100), strict=True)
    )
    return right / len(labels)


def save(path: Path, content: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    torch.save(content, partial)
    partial.replace(path)


def main() -> None:
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    latest = args.out / "checkpoint_latest.pth"
    console = Console(stderr=True)

    def tensors(split: str) -> tuple[Tensor, Tensor]:
        images, labels = load(args.data, split)
        counts = frames(args.out / f"{split}.npy", images, SEEDS[split], args.time_steps, console)
        return torch.from_numpy(counts), torch.from_numpy(labels.copy()).long()

    counts, labels = tensors("train")
    test_counts, test_labels = tensors("t10k")

    torch.manual_seed(args.seed)
    kernels = (args.kernel_t, args.kernel_c)
    sizes = EventSizes(
        attention=Attention("tcja", "product", args.time_steps, (kernels, kernels)),
        widths=(args.channels,) * 5,
        height=SIDE,
        width=SIDE,
        hidden=args.hidden,
        classes=10,
    )
    net = CextNet(sizes, Dvs128.head).to(args.device)
    set_surrogate(net, ATan())
    for layer in net.modules():
        if isinstance(layer, WindowDropout):
            layer.p = args.dropout
    optimizer = torch.optim.Adam(net.parameters(), lr=args.lr)
    batches_an_epoch = -(-len(counts) // args.batch)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=args.epochs * batches_an_epoch)
    start, best = 0, 0.0
    if args.resume:
        saved = torch.load(latest, weights_only=True, map_location=args.device)
        net.load_state_dict(saved["net"])
        optimizer.load_state_dict(saved["optimizer"])
        scheduler.load_state_dict(saved["lr_scheduler"])
        start, best = saved["epoch"] + 1, saved["max_test_acc"]

    for epoch in range(start, args.epochs):
        # Seeded by the epoch, so that a resumed run draws what an uninterrupted one would.
        torch.manual_seed(args.seed * 1_000_003 + epoch)
        net.train()
        loss_sum = 0.0
        batches = torch.randperm(len(counts)).split(args.batch)
        with Progress(*COLUMNS, console=console, transient=True, disable=not console.is_terminal) as progress:
            for index in progress.track(batches, description=f"epoch {epoch + 1}/{args.epochs}"):
                rates = net(counts[index].to(args.device).float())
                target = nn.functional.one_hot(labels[index].to(args.device), sizes.classes).float()
                loss = nn.functional.mse_loss(rates, target)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                scheduler.step()
                loss_sum += loss.item()
        test = accuracy(net, test_counts, test_labels, args.device)
        best = max(best, test)
        content: dict[str, Any] = {
            "net": net.state_dict(),
            "optimizer": optimizer.state_dict(),
            "lr_scheduler": scheduler.state_dict(),
            "epoch": epoch,
            "max_test_acc": best,
        }
        save(latest, content)
        print(
            f"epoch {epoch + 1}/{args.epochs}  loss {loss_sum / len(batches):.4f}  test accuracy {test:.4f}", flush=True
        )

    final = torch.load(latest, weights_only=True, map_location="cpu")
    save(args.out / "checkpoint.pth", final | {"optimizer": {}, "lr_scheduler": {}})


if __name__ == "__main__":
    main()
