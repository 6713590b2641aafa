"""Train a small fully spiking VAE with TCJA on Fashion-MNIST.

    python examples/fsvae/train.py --out build/fsvae

The folder receives checkpoint_latest.pth (to resume from) and, at the end, checkpoint.pth (weights only, what ships):
the last epoch's. The weights of encoder, posterior and prior are in it; an export leaves them out.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import torch
from model import Fsvae, Rectangle
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import Tensor, nn

from tcja_exporters.modules.neurons import set_surrogate
from tcja_exporters.networks.base import Attention
from tcja_exporters.networks.fsvae import Sizes

sys.path.append(str(Path(__file__).parents[1] / "fashion_mnist"))
from idx import DEBIAN, load


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=DEBIAN, help="folder of the IDX files (default: %(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="folder for the checkpoints")
    parser.add_argument("--resume", action="store_true", help="go on from OUT/checkpoint_latest.pth")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--time-steps", type=int, default=8)
    parser.add_argument("--latent", type=int, default=64)
    parser.add_argument(
        "--widths", type=int, nargs=4, default=(128, 64, 32, 8), help="published: 256 128 64 32 (default: 128 64 32 8)"
    )
    parser.add_argument("--kernel-t", type=int, default=4, help="TCJA kernel over channels")
    parser.add_argument("--kernel-c", type=int, default=4, help="TCJA kernel over time")
    parser.add_argument("--beta", type=float, default=2e-4, help="weight of the divergence, in nats an image")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=2024)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    return parser.parse_args()


def images(folder: Path, split: str, device: str) -> Tensor:
    """Images [N, 1, 32, 32] in [-1, 1] of a split, with a black margin."""
    pixels = torch.from_numpy(load(folder, split)[0].copy())[:, None].float()
    return nn.functional.pad(pixels / 127.5 - 1, (2, 2, 2, 2), value=-1.0).to(device)


@torch.no_grad()
def reconstruction_error(net: Fsvae, batch: Tensor) -> float:
    """Mean squared error a pixel of reconstructions without noise, over images [N, 1, 32, 32]."""
    net.eval()
    squares = sum(float(((net.autoencode(x, noise=False)[0] - x) ** 2).sum()) for x in batch.split(250))
    return squares / batch.numel()


def save(path: Path, content: dict[str, Any]) -> None:
    partial = path.with_suffix(".partial")
    torch.save(content, partial)
    partial.replace(path)


def main() -> None:
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    latest = args.out / "checkpoint_latest.pth"
    train, test = (images(args.data, split, args.device) for split in ("train", "t10k"))

    torch.manual_seed(args.seed)
    sizes = Sizes(
        attention=Attention("tcja", "product", args.time_steps, ((args.kernel_t, args.kernel_c),)),
        latent=args.latent,
        widths=tuple(args.widths),
    )
    net = Fsvae(sizes).to(args.device)
    set_surrogate(net, Rectangle())
    optimizer = torch.optim.Adam(net.parameters(), lr=args.lr)
    steps = args.epochs * math.ceil(len(train) / args.batch)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    start = 0
    if args.resume:
        saved = torch.load(latest, weights_only=True, map_location=args.device)
        net.load_state_dict(saved["net"])
        optimizer.load_state_dict(saved["optimizer"])
        scheduler.load_state_dict(saved["lr_scheduler"])
        start = saved["epoch"] + 1

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
        errors = divergences = 0.0
        batches = torch.randperm(len(train)).to(args.device).split(args.batch)
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            for index in progress.track(batches, description=f"epoch {epoch + 1}/{args.epochs}"):
                reconstructed, divergence = net.autoencode(train[index])
                error, kl = nn.functional.mse_loss(reconstructed, train[index]), divergence.mean()
                optimizer.zero_grad()
                (error + args.beta * kl).backward()
                optimizer.step()
                scheduler.step()
                errors += error.item()
                divergences += kl.item()
        test_error = reconstruction_error(net, test)
        content: dict[str, Any] = {
            "net": net.state_dict(),
            "optimizer": optimizer.state_dict(),
            "lr_scheduler": scheduler.state_dict(),
            "epoch": epoch,
            "test_mse": test_error,
        }
        save(latest, content)
        print(
            f"epoch {epoch + 1}/{args.epochs}  error {errors / len(batches):.4f}  "
            f"divergence {divergences / len(batches):.1f}  test error {test_error:.4f}",
            flush=True,
        )

    final = torch.load(latest, weights_only=True, map_location="cpu")
    save(args.out / "checkpoint.pth", final | {"optimizer": {}, "lr_scheduler": {}})


if __name__ == "__main__":
    main()
