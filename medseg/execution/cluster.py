"""A Dask cluster: the options that name one, and the way to it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from medseg.errors import MedsegError, PipelineError

_PLAIN = re.compile(r"[\w.,:=+@%-]+")
_NOWHERE = "127.0.0.1:0"
_CONNECT_SECONDS = 30.0


@dataclass(frozen=True)
class Tls:
    """Certificates of a cluster: its authority (``ca``), and one with its ``key`` for each end."""

    ca: Path
    cert: Path
    key: Path


@dataclass(frozen=True)
class Slurm:
    """Jobs of SLURM, each with one worker: ``jobs`` at once, started anew while there is work.

    ``cores`` and ``memory_gib`` are for a job; ``gres`` is what else it asks for, as sbatch has it
    (gpu:1); ``interface`` the network that scheduler and workers meet on; ``logs`` the folder of
    what jobs print.
    """

    memory_gib: float
    jobs: int = 1
    cores: int = 1
    queue: str | None = None
    account: str | None = None
    walltime: str | None = None
    gres: str | None = None
    constraint: str | None = None
    interface: str | None = None
    logs: Path | None = None

    def __post_init__(self) -> None:
        for name in ("jobs", "cores", "memory_gib"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} is above 0, not {getattr(self, name)}")
        # They become words of a job's script, and may not become commands of it.
        for name in ("queue", "account", "walltime", "gres", "constraint", "interface"):
            given = getattr(self, name)
            if given is not None and not _PLAIN.fullmatch(given):
                raise ValueError(f"{name} is one word of letters, digits and .,:=+@%-, not {given}")
        if self.logs is not None and not re.fullmatch(r"[\w./-]+", str(self.logs)):
            raise ValueError(f"logs is a folder without spaces and signs, not {str(self.logs)!r}")


@dataclass(frozen=True)
class Dask:
    """Which Dask cluster does the work, by the extra ``dask``.

    ``scheduler`` is the address of one that runs (tcp://head:8786, tls://head:8786); ``slurm``
    starts one of jobs; without either there is one of processes of this machine, at 127.0.0.1. A
    run ends where there has been no worker for ``wait_seconds``.
    """

    scheduler: str | None = None
    slurm: Slurm | None = None
    tls: Tls | None = None
    wait_seconds: float = 600.0

    def __post_init__(self) -> None:
        if self.scheduler is not None and self.slurm is not None:
            raise ValueError("scheduler is one that runs, and slurm starts one; name one of them")
        if self.wait_seconds <= 0:
            raise ValueError(f"wait_seconds is above 0, not {self.wait_seconds}")
        if self.scheduler is None:
            return
        kind = "tcp" if self.tls is None else "tls"
        if not re.fullmatch(rf"{kind}://[\w.\[\]:-]+:\d+", self.scheduler):
            with_tls = "with" if self.tls else "without"
            raise ValueError(
                f"scheduler is {kind}://host:port {with_tls} tls, not {self.scheduler!r}"
            )

    @property
    def away(self) -> bool:
        """Whether workers may be on other machines."""
        return self.scheduler is not None or self.slurm is not None

    def check_packages(self) -> None:
        """PipelineError E_CONFIG, which names the extra, where a package is not here."""
        wanted = ["distributed", *(["dask_jobqueue"] if self.slurm else [])]
        for package in wanted:
            if find_spec(package) is None:
                told = f'execution: dask needs {package}: pip install "medseg[dask]"'
                raise PipelineError("E_CONFIG", told)


@dataclass(frozen=True)
class Opened:
    """A client of a cluster, and what sees to it that lost workers are replaced."""

    client: Any
    renew: Callable[[], object]


@contextmanager
def opened(dask: Dask, workers: int, silent_seconds: float) -> Iterator[Opened]:
    """Reach the cluster, or start it with ``workers``, and leave it at the end.

    One that is started gives a worker up that has not been heard for ``silent_seconds``. Raises
    MedsegError E_CLUSTER where that cannot be done.
    """
    dask.check_packages()
    import distributed
    from dask import config

    security = None if dask.tls is None else _security(dask.tls)
    # One death is told at once; what becomes of the study is decided here.
    rules = {
        "distributed.scheduler.allowed-failures": 0,
        "distributed.scheduler.worker-ttl": f"{silent_seconds:g}s",
        "distributed.scheduler.worker-saturation": 1.0,
    }
    with ExitStack() as stack:
        try:
            where: Any = dask.scheduler
            renew: Callable[[], object] = int
            if not dask.away:
                with config.set(rules):
                    where = stack.enter_context(_local(workers, security))
                renew = partial(where.scale, workers)
            elif dask.slurm is not None:
                with config.set(rules):
                    where = stack.enter_context(_slurm(dask.slurm, security))
                renew = partial(where.scale, jobs=dask.slurm.jobs)
                renew()
            client = distributed.Client(
                where, security=security, timeout=_CONNECT_SECONDS, set_as_default=False
            )
        except (OSError, TimeoutError, ValueError, RuntimeError) as error:
            named = dask.scheduler or ("SLURM" if dask.slurm else "127.0.0.1")
            told = f"there is no way to Dask at {named}: {error}"
            raise MedsegError("E_CLUSTER", told) from error
        stack.callback(client.close, timeout=5)
        yield Opened(client, renew)


def _security(tls: Tls) -> Any:
    from distributed import Security

    ends = ("scheduler", "worker", "client")
    pairs = {f"tls_{end}_cert": str(tls.cert) for end in ends}
    pairs |= {f"tls_{end}_key": str(tls.key) for end in ends}
    return Security(tls_ca_file=str(tls.ca), require_encryption=True, **pairs)


def _local(workers: int, security: Any) -> Any:
    import logging

    from distributed import LocalCluster

    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        protocol="tcp://" if security is None else "tls://",
        security=security,
        dashboard_address=_NOWHERE,
        worker_dashboard_address=_NOWHERE,
        memory_limit=None,
        preload=["medseg.execution.guard"],
        silence_logs=logging.CRITICAL,
    )


def _slurm(slurm: Slurm, security: Any) -> Any:
    from dask_jobqueue import SLURMCluster

    more = {"gres": slurm.gres, "constraint": slurm.constraint}
    return SLURMCluster(
        cores=1,
        processes=1,
        job_cpu=slurm.cores,
        memory=f"{slurm.memory_gib}GiB",
        queue=slurm.queue,
        account=slurm.account,
        walltime=slurm.walltime,
        job_extra_directives=[f"--{name}={value}" for name, value in more.items() if value],
        interface=slurm.interface,
        log_directory=None if slurm.logs is None else str(slurm.logs),
        worker_extra_args=["--dashboard-address", _NOWHERE],
        scheduler_options={"dashboard_address": _NOWHERE},
        security=security,
        silence_logs="critical",
    )
