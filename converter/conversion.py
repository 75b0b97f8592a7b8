"""``convert``: dumps in, a bundle out. Whether a run may begin, or go on and from where, or has nothing left to do."""

import os
from collections.abc import Mapping
from contextlib import ExitStack

from pydantic import ValidationError

from converter import checkpoint as checkpoints
from converter import storage
from converter.bundle import Bundle
from converter.checkpoint import Checkpoint, Position, State
from converter.disk import crash_point
from converter.dump import Dump
from converter.engines import Engine, engine, this_tool
from converter.errors import CheckpointMismatch, DumpError, Interrupted, OutputError, UsageError
from converter.layout import CHECKPOINT, DATA_FILES, MANIFEST, REJECTS, any_part, parts_of
from converter.manifest import Counts, FileEntry, Identity, Input, Manifest, Options, differences
from converter.outputs import Outputs
from converter.place import Place, place
from converter.progress import Progress
from converter.report.tally import Tally
from converter.request import ConvertRequest, FileSummary, Summary
from converter.run import Run, counts, workers


def convert(request: ConvertRequest, progress: Progress) -> Summary:
    """Converts the dumps of ``request`` into the bundle ``request.out``, and keeps ``progress`` up to date.

    Bad documents go to the bundle's rejects. A bad run raises a ``BackfillError``: ``DumpError``, ``OutputExists``,
    ``OutputError``, ``CheckpointMismatch``, ``TooManyRejects``, ``Interrupted``, ``UsageError``, ``WorkerDied``,
    ``ClusterError``, ``DumpChanged``. What was converted up to the last checkpoint is kept for ``resume``.

    A dry run leaves no trace on the disk. With ``resume`` it refuses what ``resume`` would refuse, and then reads
    everything from the beginning: its summary is of the whole bundle too.
    """
    if request.resume and request.streams():
        raise UsageError(f"--resume can't go on: {request.way_on()}")
    try:
        with ExitStack() as stack:
            dumps = [stack.enter_context(_open(request, path)) for path in request.dumps]
            for dump in dumps if request.parts else ():
                if dump.plain is None:
                    raise DumpError("--parts needs a plain file: unpack it, or do without --parts", path=dump.path)
            identity = _identity(request, dumps)
            # Before the bundle is locked: the lock must end with this process, and no worker may hold it.
            work = stack.enter_context(engine(workers(request, dumps), request.scheduler))
            begin = _rehearse if request.dry_run else _convert
            return begin(request, dumps, identity, work, progress, stack)
    except KeyboardInterrupt:
        raise Interrupted(f"stopped at once; {request.way_on()}") from None


def _convert(
    request: ConvertRequest, dumps: list[Dump], identity: Identity, work: Engine, progress: Progress, stack: ExitStack
) -> Summary:
    bundle = stack.enter_context(Bundle(request.folder, request.out))
    bundle.refuse_dumps(request.dumps)
    path = bundle.folder / CHECKPOINT
    saved = None
    if request.resume and path.exists():
        try:
            checkpoint = stack.enter_context(Checkpoint(path))
            saved = checkpoint.load()
        except OutputError as error:
            raise OutputError(f"{error}; {request.way_on()}") from error
    if saved is None:
        if request.resume and _is_finished(bundle.place):
            return _finished_before(request, identity, bundle.place)
        if not request.overwrite:
            bundle.refuse_existing(resume=request.resume)
        try:
            bundle.clear()
            bundle.claim()
            outputs = stack.enter_context(Outputs.start(bundle.folder, parts=request.parts))
            state = _beginning(dumps, outputs)
            checkpoint = stack.enter_context(Checkpoint(path))
            checkpoint.create(identity, state)
        except OutputError as error:
            raise OutputError(f"{error}; {request.way_on(0)}") from error
        crash_point("started")
    else:
        _refuse_another_run(request, identity, *saved)
        state = saved[1]
        bundle.refuse_another_owner(publishing=state.publishing is not None)
        if state.publishing is not None:
            written = parts_of(state.attempts)
            bundle.verify(state.publishing, written)
            checkpoint.close()
            bundle.publish(state.publishing, written, progress)
            return _summary(request, counts(Tally.from_json(state.tally)), state.files)
        outputs = stack.enter_context(Outputs.reopen(bundle.folder, state.files, bundle.place, state.attempts))

    run = Run(request, dumps, identity, work, outputs, checkpoint, progress, state)
    try:
        run.convert()
        publishing = run.complete(bundle)
        checkpoint.close()
        bundle.publish(publishing, parts_of(outputs.attempts), progress)
    except OutputError as error:
        kept = "what was converted up to the last checkpoint is kept; " if run.tally.read else ""
        raise OutputError(f"{error}; {kept}{request.way_on(run.tally.read)}") from error
    return _summary(request, counts(run.tally), outputs.entries())


def _rehearse(
    request: ConvertRequest, dumps: list[Dump], identity: Identity, work: Engine, progress: Progress, stack: ExitStack
) -> Summary:
    if request.resume:
        saved = checkpoints.peek(request.folder / CHECKPOINT)
        if saved is not None:
            _refuse_another_run(request, identity, *saved)
        elif _is_finished(place(request.out)):
            return _finished_before(request, identity, place(request.out))
    outputs = stack.enter_context(Outputs.discarded())
    state = _beginning(dumps, outputs)
    checkpoint = stack.enter_context(Checkpoint(None))
    checkpoint.create(identity, state)
    run = Run(request, dumps, identity, work, outputs, checkpoint, progress, state)
    run.convert()
    files = outputs.entries()
    if request.parts:  # how many is only known when they are written
        files = {any_part(collection): files[name] for collection, name in DATA_FILES.items()} | {
            REJECTS: files[REJECTS]
        }
    return _summary(request, counts(run.tally), files)


def _beginning(dumps: list[Dump], outputs: Outputs) -> State:
    return State(positions=[Position() for _ in dumps], files=outputs.entries(), tally=Tally().to_json())


def _identity(request: ConvertRequest, dumps: list[Dump]) -> Identity:
    inputs = []
    for dump in dumps:
        head, tail = (None, None) if dump.size is None else checkpoints.ends(dump.path)
        inputs.append(
            Input(
                # A file may be called what is no text; the name is only shown.
                name=os.fsencode(storage.name(dump.path)).decode("utf-8", "replace"),
                bytes=dump.size,
                head_sha256=head,
                tail_sha256=tail,
                dialect=dump.dialect,
                compression=dump.compression,
                encoding=dump.encoding,
            )
        )
    return Identity(
        tool=this_tool(),
        options=Options(
            queue=request.queue,
            in_flight=request.in_flight,
            json_format=request.json_format,
            limit=request.limit,
            parts=request.parts,
        ),
        inputs=inputs,
    )


def _refuse_another_run(request: ConvertRequest, identity: Identity, before: Identity, state: State) -> None:
    found = differences(before, identity)
    if not found:
        found = [
            f"the dump {storage.name(path)}: what was read of it last differs"
            for path, position in zip(request.dumps, state.positions, strict=True)
            if position.window is not None and checkpoints.window(path, position.bytes) != position.window
        ]
    if found:
        raise CheckpointMismatch(
            f"{request.out} can't be gone on with: {'; '.join(found)}. Resume with what it was begun with, "
            "or start over with --overwrite"
        )


def _is_finished(where: Place) -> bool:
    try:
        return where.size(MANIFEST) is not None
    except OSError as error:
        raise OutputError(f"{where.path(MANIFEST)} can't be read: {error.strerror or error}") from error


def _finished_before(request: ConvertRequest, identity: Identity, where: Place) -> Summary:
    """What ``resume`` says of a finished bundle, provided that it is of these dumps and options."""
    try:
        with where.open(MANIFEST) as file:
            manifest = Manifest.model_validate_json(file.read())
    except (OSError, ValidationError) as error:
        raise CheckpointMismatch(f"{where.path(MANIFEST)} can't be read: start over with --overwrite") from error
    found = differences(manifest.model_copy(update={"tool": identity.tool}), identity)
    if found:
        raise CheckpointMismatch(
            f"{request.out} holds the finished bundle of another run: {'; '.join(found)}. "
            "Choose another --out, or replace it with --overwrite"
        )
    return _summary(request, manifest.counts, manifest.files, already_finished=True)


def _summary(
    request: ConvertRequest, counts: Counts, files: Mapping[str, FileEntry], *, already_finished: bool = False
) -> Summary:
    return Summary(
        out=request.out,
        dry_run=request.dry_run,
        finished=not request.dry_run,
        already_finished=already_finished,
        **counts.model_dump(),
        files={
            name: FileSummary(documents=entry.documents, bytes=entry.bytes)
            for name, entry in files.items()
            if name != REJECTS or entry.documents
        },
    )


def _open(request: ConvertRequest, path: str) -> Dump:
    # Workers elsewhere have another working directory.
    known = path if request.scheduler is None or path == "-" or storage.is_url(path) else os.path.abspath(path)
    return Dump.open(known, reader=request.reader)
