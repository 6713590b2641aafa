"""Train a small TCJA-SNN on Fashion-MNIST: ATan surrogate, rate readout, mean squared error, as in the paper.

    python examples/fashion_mnist/train.py --out build/fashion_mnist

The folder receives checkpoint_latest.pth (to resume from) and, at the end, checkpoint.pth (weights only, what ships).
Both have the published scripts' layout: net, optimizer, lr_scheduler, epoch, max_test_acc. What ships is the last
epoch, whatever the others reached: no epoch is chosen by its test accuracy.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from idx import DEBIAN, load
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from tcja_exporters.modules.layers import WindowDropout
from tcja_exporters.modules.neurons import set_surrogate
from tcja_exporters.modules.surrogates import ATan
from tcja_exporters.networks.base import Attention
from tcja_exporters.networks.fashion_mnist import FashionMnistNet, Sizes


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=DEBIAN, help="folder of the IDX files (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoints")
    parser.add_argument("--resume", action="store_true", help="go on from OUT/checkpoint_latest.pth")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--time-steps", type=int, default=6)
    parser.add_argument("--channels", type=int, default=32)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--kernel-t", type=int, default=4, help="TCJA kernel over channels")
    parser.add_argument("--kernel-c", type=int, default=4, help="TCJA kernel over time")
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def flipped(images: Tensor) -> Tensor:
    """Images [N, 1, H, W], each mirrored left to right half of the time."""
    chosen = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5
    return torch.where(chosen, images.flip(3), images)


@torch.no_grad()
def accuracy(net: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Share of images [N, 1, 28, 28] whose highest rate is at the label [N]."""
    net.eval()
    right = sum(int((net(x).argmax(1) == y).sum()) for x, y in zip(images.split(250), labels.split(250), strict=True))
    return right / len(labels)


def save(path: Path, content: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    torch.save(content, partial)
    partial.replace(path)


def main() -> None:
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    latest = args.out / "checkpoint_latest.pth"

    def tensors(split: str) -> tuple[Tensor, Tensor]:
        images, labels = load(args.data, split)
        scaled = torch.from_numpy(images.copy())[:, None].float() / 255
        return scaled.to(args.device), torch.from_numpy(labels.copy()).long().to(args.device)

    images, labels = tensors("train")
    test_images, test_labels = tensors("t10k")

    torch.manual_seed(args.seed)
    sizes = Sizes(
        attention=Attention("tcja", "product", args.time_steps, ((args.kernel_t, args.kernel_c),)),
        channels=args.channels,
        hidden=args.hidden,
    )
    net = FashionMnistNet(sizes).to(args.device)
    set_surrogate(net, ATan())
    for layer in net.modules():
        if isinstance(layer, WindowDropout):
            layer.p = args.dropout
    optimizer = torch.optim.Adam(net.parameters(), lr=args.lr)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=args.epochs)
    start, best = 0, 0.0
    if args.resume:
        saved = torch.load(latest, weights_only=True, map_location=args.device)
        net.load_state_dict(saved["net"])
        optimizer.load_state_dict(saved["optimizer"])
        scheduler.load_state_dict(saved["lr_scheduler"])
        start, best = saved["epoch"] + 1, saved["max_test_acc"]

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    for epoch in range(start, args.epochs):
        # Seeded by the epoch, so that a resumed run draws what an uninterrupted one would.
        torch.manual_seed(args.seed * 1_000_003 + epoch)
        net.train()
        loss_sum = 0.0
        batches = torch.randperm(len(images)).to(args.device).split(args.batch)
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            for index in progress.track(batches, description=f"epoch {epoch + 1}/{args.epochs}"):
                rates = net(flipped(images[index]))
                target = nn.functional.one_hot(labels[index], sizes.classes).float()
                loss = nn.functional.mse_loss(rates, target)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                loss_sum += loss.item()
        scheduler.step()
        test = accuracy(net, test_images, test_labels)
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
