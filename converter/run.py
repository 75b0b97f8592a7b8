"""A run of ``convert``: the loop over documents or parts, checkpoints, and the files that are written last."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import InitVar, dataclass, field

from converter import checkpoint as checkpoints
from converter import mapping, parts, stages, storage
from converter.bundle import Bundle
from converter.checkpoint import Checkpoint, Position, State
from converter.disk import crash_point
from converter.documents import Document
from converter.dump import Dump, read
from converter.engines import Engine, Rest, Written
from converter.errors import ClusterError, DumpChanged, DumpError, Interrupted, TooManyRejects, WorkerDied, masked
from converter.handoff import EXECUTABLE, bundle_files
from converter.interruption import Interruption, noticed
from converter.layout import CHECKSUMS, MANIFEST, REJECTS, REPORTS
from converter.manifest import Counts, Identity, Manifest
from converter.mapping import Rejected
from converter.outputs import Outputs
from converter.parts import Part
from converter.place import place
from converter.processes import processors
from converter.progress import Progress
from converter.report import Facts, report_json
from converter.report.files import report_files
from converter.report.tally import Tally
from converter.request import ConvertRequest
from converter.transformation import Accepted, Refused, Task, moved, refused

CHECKPOINT_BYTES = 256 << 20
"""Bytes of output, the work of some seconds, after which a checkpoint is due, however few the documents."""
LARGE_BYTES = 16 << 20
"""Bytes of dumps from which other processes pay: starting them takes as long as converting some megabytes."""
SHARE_FROM = 100
"""Documents after which a share of rejects means something."""


@dataclass(slots=True)
class Run:
    """One process' work on a bundle, from a checkpoint on."""

    request: ConvertRequest
    dumps: list[Dump]
    identity: Identity
    engine: Engine
    outputs: Outputs
    checkpoint: Checkpoint
    progress: Progress
    state: InitVar[State]
    positions: list[Position] = field(init=False)
    tally: Tally = field(init=False)
    task: Task = field(init=False)
    _last: tuple[int, Document] | None = None  # the number of its dump, and the document done last
    _readers: Counter[str] = field(default_factory=Counter)
    _before: int = 0  # bytes of the dumps before the one at hand
    _stamps: list[object] = field(init=False)
    _begun: tuple[float, int, int] = field(init=False)  # the clock, documents and bytes when this process took over

    def __post_init__(self, state: State) -> None:
        self.positions = list(state.positions)
        self.tally = Tally.from_json(state.tally)
        self.progress.batch = state.batches + 1
        self.task = _task(self.request, self.identity)
        stages.taken()  # what was booked before is another run's
        self._begun = time.monotonic(), self.tally.read, sum(position.bytes for position in self.positions)
        self._stamps = [_stamp(dump) for dump in self.dumps]

    def convert(self) -> None:
        """Converts all documents that are left, and makes a checkpoint every now and then."""
        sizes = [dump.size for dump in self.dumps]
        self.progress.total_bytes = None if None in sizes else sum(size for size in sizes if size is not None)
        self._judge_rejects()
        in_parts = self.request.parts and not self.request.dry_run
        try:
            with noticed() as interruption:
                (self._convert_parts if in_parts else self._convert_documents)(interruption)
            self._refuse_changed_dumps()
        except (WorkerDied, ClusterError) as error:
            self.save()
            raise type(error)(f"{error}; {self.request.way_on(self.tally.read)}") from error
        except DumpError as error:
            with suppress(DumpError):  # where the storage is what failed, it doesn't tell that either
                self._refuse_changed_dumps()
            self.save()
            raise DumpError(
                f"{error.message}; {self._way_on_from_a_broken_dump()}",
                path=error.path,
                offset=error.offset,
                index=error.index,
            ) from error
        self._judge_rejects(at_end=True)

    def _way_on_from_a_broken_dump(self) -> str:
        """What is kept, and what to do. A part that ended where its dump breaks would end where no part should."""
        read = self.tally.read
        way_on = self.request.way_on(read)
        if self.request.dry_run:
            return way_on
        if read:
            way_on = f"with another dump start over with --overwrite, with this one {way_on}"
        if self.request.parts:
            before = f", the parts before it hold {_number_of_documents(read)}" if read else ""
            return f"with --parts nothing is kept of the part in which a dump breaks{before}; {way_on}"
        if read:
            return f"the {_number_of_documents(read)} before it {'is' if read == 1 else 'are'} converted; {way_on}"
        return way_on

    def _convert_documents(self, interruption: Interruption) -> None:
        unsaved, saved_bytes = 0, self.outputs.bytes
        limit = self.request.limit
        with closing(self.engine.run(self._rests(), self.task)) as outcomes:
            for number, document, result in outcomes if limit is None or self.tally.read < limit else ():
                if document is None or result is None:
                    self._finish_dump(number)
                    continue
                self._take(number, document, result)
                unsaved += 1
                if unsaved == self.request.batch_size or self.outputs.bytes - saved_bytes >= CHECKPOINT_BYTES:
                    self.save()
                    unsaved, saved_bytes = 0, self.outputs.bytes
                self._judge_rejects()
                if interruption.requested:
                    self.save()
                    raise self._interrupted()
                if self.tally.read == limit:
                    break

    def _convert_parts(self, interruption: Interruption) -> None:
        """Each part is durable when it comes, and remembered before the next one is taken."""
        out = self.request.out if storage.is_url(self.request.out) else os.path.abspath(self.request.out)
        with closing(self.engine.parts(self._rests(), self.task, out)) as written:
            for next_one in written:
                if next_one.part is None:
                    self._finish_dump(next_one.number)
                    continue
                self._take_part(out, next_one, next_one.part)
                self.save()
                self._judge_rejects()
                if interruption.requested:
                    raise self._interrupted()

    def _interrupted(self) -> Interrupted:
        return Interrupted(f"interrupted after {_number_of_documents(self.tally.read)}; {self.request.way_on()}")

    def save(self, publishing: dict[str, str] | None = None) -> None:
        """Makes a checkpoint. Durable first, then remembered."""
        if self.request.dry_run:
            return
        begun = time.perf_counter()
        if self._last is not None:
            number, raw = self._last
            self.positions[number] = self._position(number, raw)
        self.outputs.sync()
        state = State(
            positions=self.positions,
            files=self.outputs.entries(),
            tally=self.tally.to_json(),
            attempts=self.outputs.attempts,
            batches=self.progress.batch,
            publishing=publishing,
        )
        self.checkpoint.commit(state)
        stages.lap("checkpoint", begun)
        self.progress.batch += 1
        crash_point("committed")

    def complete(self, bundle: Bundle) -> dict[str, str]:
        """Writes what is not documents, and remembers that only publishing is left. Returns file name -> SHA-256."""
        self.save()  # whatever becomes of the reports, no document has to be converted again
        files = {name: entry for name, entry in self.outputs.entries().items() if name != REJECTS or entry.documents}
        manifest = Manifest(**dict(self.identity), counts=counts(self.tally), files=files)
        report = report_json(self.tally, self._facts())
        texts = {MANIFEST: manifest.to_text(), **bundle_files(manifest), **report_files(report)}
        checksums = {name: entry.sha256 for name, entry in files.items()}
        for name, text in texts.items():
            checksums[name] = bundle.add(name, text.encode("utf-8", "replace"), executable=name in EXECUTABLE)
        lines = "".join(f"{sha256}  {name}\n" for name, sha256 in sorted(checksums.items()) if name not in REPORTS)
        checksums[CHECKSUMS] = bundle.add(CHECKSUMS, lines.encode())
        self.save(publishing=checksums)
        return checksums

    def _facts(self) -> Facts:
        return Facts(
            version=self.identity.tool.version,
            inputs=tuple(dump.name for dump in self.identity.inputs),
            options=self.identity.options.model_dump(),
            seconds=time.monotonic() - self._begun[0],
            documents=self.tally.read - self._begun[1],
            dump_bytes=sum(position.bytes for position in self.positions) - self._begun[2],
            peak_memory_bytes=self.engine.peak_memory(),
            workers=workers(self.request, self.dumps),
            stages=stages.taken(),
            readers=self._readers,
        )

    def _rests(self) -> Iterator[Rest]:
        for number, (dump, position) in enumerate(zip(self.dumps, list(self.positions), strict=True)):
            yield Rest(number, dump, position.documents, position.offset, position.complete)

    def _finish_dump(self, number: int) -> None:
        dump, position = self.dumps[number], self.positions[number]
        if not position.complete:
            done = position.documents if self._last is None else self._last[1].index + 1
            self.positions[number] = Position(documents=done, bytes=dump.size or dump.bytes_read(), complete=True)
            self._last = None
        self._before += self.positions[number].bytes
        self.progress.done_bytes = self._before

    def _position(self, number: int, document: Document) -> Position:
        dump, on_disk = self.dumps[number], self._bytes_done(number, document)
        return Position(documents=document.index + 1, offset=document.end, bytes=on_disk, window=_window(dump, on_disk))

    def _bytes_done(self, number: int, document: Document) -> int:
        """Bytes of the dump's file that it took to come behind ``document``."""
        dump = self.dumps[number]
        return document.end if dump.seekable and document.end is not None else dump.bytes_read()

    def _take(self, number: int, document: Document, result: Accepted | Refused) -> None:
        """What became of one document: its lines, or its reject."""
        begun = time.perf_counter()
        if isinstance(result, Accepted):
            duplicate = self._duplicate(result.identities, number, document.index)
            if duplicate is not None:
                result = refused(number, read(document), duplicate, self.task)
        begun = stages.lap("checkpoint", begun)
        if isinstance(result, Refused):
            self.outputs.reject(result.line)
            begun = stages.lap("write", begun)
            self.tally.reject(result.rejected.reason, result.rejected.job_id)
        else:
            for collection, block, documents in result.blocks:
                self.outputs.append(collection, block, documents)
            begun = stages.lap("write", begun)
            self.tally.add(result.counted)
        stages.lap("count", begun)
        self._last = number, document
        self._readers[result.reader] += 1
        self._advance(self._bytes_done(number, document))

    def _take_part(self, out: str, written: Written, part: Part) -> None:
        """A part becomes one of the bundle's, once more without the jobs that were seen before."""
        number, index = written.number, written.index
        seen = {}
        for position, identities in enumerate(part.identities):
            duplicate = identities and self._duplicate(identities, number, index + position)
            if duplicate:
                seen[position] = duplicate
        if seen:
            try:
                part = written.again(seen)
            except BaseException:
                self.checkpoint.undo()  # what this part holds isn't seen before it is accepted
                raise
        adopted = bool(part.identities or not self.outputs.attempts)
        if adopted:
            self.outputs.adopt(place(out), part.token, part.files)
        for line in parts.rejects(out, part):
            self.outputs.reject(moved(line, written.shift))
        parts.discard(out, part, [REJECTS] if adopted else parts.FILES)
        self.tally.merge(part.tally)
        self._readers += part.readers
        ended, dump = part.ended, self.dumps[number]
        window = _window(dump, ended)
        if part.identities:
            self.positions[number] = Position(
                documents=index + len(part.identities), offset=ended, bytes=ended, window=window
            )
        self._advance(ended)

    def _duplicate(self, identities: tuple[bytes, bytes], number: int, index: int) -> Rejected | None:
        """The reason to reject a job that was seen before; one that wasn't is remembered."""
        first = self.checkpoint.first_seen(identities, number, index)
        if first is None:
            return None
        place = f"at index {first[1]:,} of {self.identity.inputs[first[0]].name}"
        job_id = identities[0].removeprefix(b"jobId ").decode("utf-8", "surrogatepass")
        return Rejected("duplicate-job", f"a job with the same jobId or _id is {place}", job_id)

    def _advance(self, bytes_done: int) -> None:
        """``bytes_done`` of the dump at hand."""
        self.progress.advance(
            done_bytes=self._before + bytes_done,
            documents=self.tally.read,
            rejects=self.tally.rejected,
            repairs=sum(cases.total for cases in self.tally.repairs.values()),
        )

    def _judge_rejects(self, *, at_end: bool = False) -> None:
        allowed, tally = self.request.max_rejects, self.tally
        if allowed is None:
            return
        if allowed.endswith("%"):
            enough = tally.read if at_end else tally.read >= SHARE_FROM
            too_many = enough and 100 * tally.rejected > float(allowed[:-1]) * tally.read
        else:
            too_many = tally.rejected > int(allowed)
        if too_many:
            self.save()
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in tally.rejects_by_reason().items())
            raise TooManyRejects(
                f"{tally.rejected:,} of {tally.read:,} documents were rejected ({reasons}), --max-rejects={allowed} "
                f"allows fewer; {self.request.model_copy(update={'max_rejects': None}).way_on()}"
            )

    def _refuse_changed_dumps(self) -> None:
        """A dump that is still being written, or was replaced, makes a bundle of which nobody could say what it is."""
        for dump, before in zip(self.dumps, self._stamps, strict=True):
            now = _stamp(dump)
            if now != before:
                self.checkpoint.discard()
                raise DumpChanged(
                    f"{masked(dump.path)}: it changed while it was being read, so what was converted can't be trusted: "
                    "wait until it is complete, then start over with --overwrite"
                )


def counts(tally: Tally) -> Counts:
    """What the manifest and the summary say of a run."""
    return Counts(
        read=tally.read,
        accepted=tally.accepted,
        rejected=tally.rejected,
        repairs=tally.repairs_by_name(),
        rejects_by_reason=tally.rejects_by_reason(),
    )


def workers(request: ConvertRequest, dumps: list[Dump]) -> int:
    """As many as asked for; else one for each processor that this process may use, but one for a small dump."""
    if request.workers is not None:
        return request.workers
    known = sum(dump.size or 0 for dump in dumps)
    return processors() if known >= LARGE_BYTES else 1


def _task(request: ConvertRequest, identity: Identity) -> Task:
    options = mapping.Options(queue=request.queue, in_flight=request.in_flight)
    names = tuple(dump.name for dump in identity.inputs) if len(identity.inputs) > 1 else ()
    return Task(options, request.json_format, names)


def _number_of_documents(count: int) -> str:
    return "1 document" if count == 1 else f"{count:,} documents"


def _window(dump: Dump, end: int) -> str | None:
    """What was read of a dump last, up to byte ``end``; None where it can't be read again.

    That it can't may be what ends the run: what was converted is kept all the same.
    """
    try:
        return None if dump.size is None else checkpoints.window(dump.path, end)
    except DumpError:
        return None


def _stamp(dump: Dump) -> object:
    """Changes whenever a dump is written to or replaced; None for a stream. Raises DumpError."""
    if dump.size is None:
        return None
    try:
        return storage.stamp(dump.path)
    except storage.Unavailable as error:
        raise DumpError(f"whether it changed can't be told: {error.strerror}", path=dump.path) from None
