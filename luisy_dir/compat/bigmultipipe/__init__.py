"""BigMultiPipe's names: a class whose methods read, process and write one large file, run over many in processes."""

from luisy_dir.compat.bigmultipipe.caching import cached_pout
from luisy_dir.compat.bigmultipipe.counting import num_can_process
from luisy_dir.compat.bigmultipipe.functions import (
    assure_list,
    bmp_cleanup,
    multi_logging,
    multi_proc,
    no_outfile,
    outname_creator,
    prune_pout,
)
from luisy_dir.compat.bigmultipipe.multipipe import BigMultiPipe
from luisy_dir.compat.bigmultipipe.pools import NestablePool, NoDaemonPool

__all__ = [
    "BigMultiPipe",
    "NestablePool",
    "NoDaemonPool",
    "assure_list",
    "bmp_cleanup",
    "cached_pout",
    "multi_logging",
    "multi_proc",
    "no_outfile",
    "num_can_process",
    "outname_creator",
    "prune_pout",
]
