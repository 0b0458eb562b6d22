"""Network families: one file each, with the spec and how the network is built; see docs/networks.md."""

from typing import TYPE_CHECKING

from robust_transfer.registry import members, one_of
from robust_transfer.specs.networks import Network

FAMILIES = members(__name__, __path__, Network)

if TYPE_CHECKING:
    AnyNetwork = Network
else:
    AnyNetwork = one_of(FAMILIES, "family")
