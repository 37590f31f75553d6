"""Race: interleaved rounds (A B C, A B C, …) of bursts on servers that all stand ready."""

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from benchmarks import meter
from benchmarks.checking import check
from benchmarks.client import Burst, Operation, Outcome
from benchmarks.installing import HERE
from benchmarks.target import Target, TargetFailed

WARM_S: Final = 1.0
OPERATIONS: Final[tuple[Operation, ...]] = ("read", "create")


@dataclass(frozen=True)
class Plan:
    """How to measure: cores, connections, rounds and seconds of a burst."""

    rounds: int
    seconds: float
    connections: int
    server_cpu: int
    client_cpu: int


class Sample(msgspec.Struct):
    """One burst of one target. Processor time in microseconds for each right operation."""

    target: str
    operation: Operation
    round: int
    done: int
    checked: int
    seconds: float
    server_us: float
    database_us: float
    p50_ms: float
    p99_ms: float
    rss_mb: float
    load: float
    """The machine's load average of the last minute, before the burst."""

    @property
    def cpu_us(self) -> float:
        """Processor time of server and database for an operation, microseconds."""
        return self.server_us + self.database_us

    @property
    def per_cpu_s(self) -> float:
        """Operations that a second of processor time is enough for."""
        return 1e6 / self.cpu_us if self.cpu_us else 0.0


@dataclass
class Driver:
    """The client of one target: a process that is told what to do."""

    target: Target
    plan: Plan
    salt: str
    process: "subprocess.Popen[bytes]" = field(init=False)

    def start(self, seed_file: Path) -> None:
        """Start the client on its core."""
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "benchmarks.client", str(self.target.port),
                str(self.plan.client_cpu), str(seed_file), self.salt,
            ],
            cwd=HERE.parent, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip
        self._hear()

    def connect(self, operation: Operation, seconds: float) -> None:
        """Have the client connect and wait."""
        self._say(msgspec.json.encode(Burst(operation, seconds, self.plan.connections)))
        self._hear()

    def run(self) -> Outcome:
        """Have the client run its burst, and return what came of it. Raises TargetFailed."""
        self._say(b"go")
        outcome = msgspec.json.decode(self._hear(), type=Outcome)
        if outcome.wrong or not outcome.done or not outcome.checked:
            raise TargetFailed(
                f"{self.target.name}: {outcome.wrong} wrong answers, {outcome.done} right ones;"
                f" {outcome.example}\n{self.target.last_words()}"
            )
        return outcome

    def stop(self) -> None:
        """End the client."""
        if self.process.stdin:
            self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _say(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def _hear(self) -> bytes:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise TargetFailed(f"the client of {self.target.name} ended")
        return line


def race(targets: list[Target], plan: Plan, postmaster: int | None) -> list[Sample]:
    """Start all targets, check each, then measure them in turns. Raises TargetFailed."""
    drivers: list[Driver] = []
    samples: list[Sample] = []
    try:
        for at, target in enumerate(targets):
            target.start(plan.server_cpu)
            check(target)
            driver = Driver(target, plan, f"r{at}")
            driver.start(target.folder / "seed.json")
            drivers.append(driver)
        for number in range(plan.rounds):
            for operation in OPERATIONS:
                for driver in drivers:
                    if number == 0:
                        _burst(driver, operation, -1, WARM_S, postmaster)
                    sample = _burst(driver, operation, number, plan.seconds, postmaster)
                    samples.append(sample)
                    _tell(sample)
        for target in targets:
            target.check_count()
    finally:
        for driver in drivers:
            driver.stop()
        for target in targets:
            target.stop()
    return samples


def _burst(
    driver: Driver, operation: Operation, number: int, seconds: float, postmaster: int | None
) -> Sample:
    """Run one burst between two readings of the meter; creations count with their delivery."""
    target = driver.target
    load = os.getloadavg()[0]
    driver.connect(operation, seconds)
    server, database = meter.cpu_s(target.pid), meter.cpu_s(postmaster) if postmaster else 0.0
    outcome = driver.run()
    if operation == "create":
        target.acknowledged += outcome.done
        target.wait_delivered()
    server = meter.cpu_s(target.pid) - server
    if postmaster:
        database = meter.cpu_s(postmaster) - database
    return Sample(
        target.name, operation, number, outcome.done, outcome.checked, outcome.seconds,
        server / outcome.done * 1e6, database / outcome.done * 1e6, outcome.p50_ms,
        outcome.p99_ms, meter.rss_mb(target.pid), load,
    )  # fmt: skip


def _tell(sample: Sample) -> None:
    print(
        f"  round {sample.round + 1} {sample.operation:6} {sample.target:8}"
        f" {sample.done / sample.seconds:8.0f}/s {sample.cpu_us:7.0f} us"
        f"  p99 {sample.p99_ms:6.1f} ms  load {sample.load:.2f}",
        file=sys.stderr,
    )
