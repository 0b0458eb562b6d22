"""Augmentation of whole batches on the device."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def random_crop(images: Tensor, padding: int) -> Tensor:
    """Each image shifted by up to `padding` pixels either way, black coming in (N x C x H x W).

    The same draw as padding all sides and cropping to the old size at a random position. From torch's global generator.
    """
    n, _, height, width = images.shape
    padded = F.pad(images, (padding,) * 4)
    top, left = torch.randint(0, 2 * padding + 1, (2, n, 1, 1), device="cpu").to(images.device)
    rows = top + torch.arange(height, device=images.device)[None, :, None]
    columns = left + torch.arange(width, device=images.device)[None, None, :]
    image = torch.arange(n, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[image, rows, columns].permute(0, 3, 1, 2).contiguous()


def random_flip(images: Tensor) -> Tensor:
    """Half of the images mirrored left to right (N x C x H x W). From torch's global generator."""
    mirrored = torch.rand(len(images), device="cpu").to(images.device) < 0.5
    return torch.where(mirrored[:, None, None, None], images.flip(-1), images)


def random_rotation(images: Tensor, degrees: float) -> Tensor:
    """Each image turned about its centre by up to so many degrees either way, black coming in, by nearest neighbours
    (N x C x H x W). From torch's global generator.
    """
    angles = torch.empty(len(images)).uniform_(-math.radians(degrees), math.radians(degrees)).to(images.device)
    cos, sin, zero = angles.cos(), angles.sin(), torch.zeros_like(angles)
    aspect = images.shape[2] / images.shape[3]
    # In affine_grid's units both sides go from -1 to 1, so a turn of a picture that is not square needs its aspect.
    turn = torch.stack([torch.stack([cos, -sin * aspect, zero], 1), torch.stack([sin / aspect, cos, zero], 1)], 1)
    grid = F.affine_grid(turn, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="nearest", padding_mode="zeros", align_corners=False)
