"""The data of a verification, classified by the workers of a cluster of Ray."""

from __future__ import annotations

import dataclasses
import math
import socket
from collections.abc import Iterator

from tcja_deploy.cluster.cluster import Cluster
from tcja_deploy.cluster.job import Job, Runner
from tcja_deploy.cluster.shared import SharedBundle
from tcja_deploy.parity.classify import Classifier
from tcja_deploy.verify.evidence import Evidence
from tcja_deploy.verify.network import Network
from tcja_deploy.verify.options import VerifyOptions
from tcja_runtime.bundle.statistics.inputs import Figures, MeasuredWindows, measured_with_fractions
from tcja_runtime.data.contract import Floats
from tcja_runtime.data.windows import Windows
from tcja_runtime.errors import Unavailable
from tcja_runtime.evidence.predictions import Classes


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictedBatch:
    """What is kept of a batch of n windows.

    Attributes:
        rows: the predictions, int32 [n, k + T] (`tcja_runtime.evidence.predictions.Predictions.rows`).
        figures: what the windows look like (`tcja_runtime.bundle.statistics.inputs.measured_with_fractions`).
    """

    rows: Classes
    figures: Figures


@dataclasses.dataclass(frozen=True, kw_only=True)
class PredictWork:
    """The prediction of classes as the `Work` of a cluster.

    Attributes:
        bundle: the bundle.
        identity: what the network and the backend are on the machine that proves parity (`Network.identity`).
    """

    bundle: SharedBundle
    identity: str

    @property
    def device(self) -> str:
        return self.bundle.device

    def runner(self) -> Runner:
        """Load the network.

        Raises:
            Unavailable: the network or the backend is another one on this machine.
        """
        bundle = self.bundle.opened()
        network = Network.loaded(bundle, self.bundle.backend)
        if network.identity != self.identity:
            raise Unavailable(
                f"the machine {socket.gethostname()} runs the network in {network.probes[0].backend}, with another "
                "version or engine than the machine that proves parity: install the same packages on all machines"
            )

        def run(_: int, inputs: Floats) -> PredictedBatch:
            return PredictedBatch(
                rows=network.run(inputs).rows, figures=measured_with_fractions(bundle.manifest.input, inputs)
            )

        return Runner(title=network.probes[0].backend, run=run)


@dataclasses.dataclass(frozen=True)
class SharedClassifier(Classifier):
    """A free-running network that the workers of a cluster run.

    Attributes:
        cluster: the cluster.
        job: the work on the data.
        measured: the data, whose figures are stored.
    """

    cluster: Cluster
    job: Job
    measured: MeasuredWindows

    @classmethod
    def of(
        cls, own: Classifier, network: Network, evidence: Evidence, options: VerifyOptions, cluster: Cluster
    ) -> SharedClassifier | Classifier:
        """Return the classifier of the data; the process's own one if there is no data.

        Args:
            own: the classifier of this process.
            network: the network of this process.
            evidence: what is compared.
            options: the options of the verification.
            cluster: the cluster.
        """
        if not (evidence.data and evidence.measured):
            return own
        bundle = network.bundle
        work = PredictWork(bundle=SharedBundle.of(bundle, options.trust, network.name), identity=network.identity)
        window_bytes = 4 * math.prod(bundle.manifest.input.shape)
        job = Job(work=work, data=[evidence.data], size=own.size, window_bytes=window_bytes)
        return cls(own.name, own.run, own.size, cluster, job, evidence.measured)

    def rows(self, windows: Windows, start: int) -> Iterator[Classes]:  # noqa: ARG002  # they are those of the job
        """Yield the predictions for the windows from number `start` on (`Classifier.rows`)."""
        at = start
        for batch in self.cluster.outcomes(dataclasses.replace(self.job, start=start)):
            self.measured.store(at, batch.figures)
            at += len(batch.rows)
            yield batch.rows
