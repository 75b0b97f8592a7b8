"""``verify``: proves a bundle, and with the dumps that nothing of them is missing in it.

It trusts neither the code that wrote the bundle nor the bundle's own figures: every line is read and counted anew, and
what must hold between lines, files and dumps is asked of a temporary database. So it takes no rule from the mapping.
"""

from typing import Self

from pydantic import BaseModel, field_validator, model_validator
from pydantic_core import PydanticCustomError

from converter.errors import BackfillError, UsageError
from converter.place import place
from converter.verification.dumps import compare_with_dumps
from converter.verification.evidence import complete, evidence
from converter.verification.files import check_files, read_manifest
from converter.verification.findings import Findings, Proof, render, shown
from converter.verification.lines import check_counts, check_lines, check_rejects
from converter.verification.relations import check_consistency, check_identities, check_references
from converter.verification.reports import check_reports

__all__ = ["Findings", "VerifyRequest", "render", "verify"]


class VerifyRequest(BaseModel, frozen=True, strict=True, extra="forbid"):
    """One proof. ``bundle`` is a folder or a URL, ``dump`` names all that it was made from, in the same order.

    ``fast`` looks at sizes and checksums only.
    """

    bundle: str
    dump: tuple[str, ...] = ()
    fast: bool = False

    @field_validator("bundle")
    @classmethod
    def _is_named(cls, bundle: str) -> str:
        # A limit to its length would have pydantic look at its encoding, and a folder may be called what is no text.
        if not bundle:
            raise PydanticCustomError("string_too_short", "must not be empty")
        return bundle

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.fast and self.dump:
            raise ValueError("--fast reads no line, so there is nothing to compare with a dump: give only one of them")
        return self


def verify(request: VerifyRequest) -> Findings:
    """Proves the bundle. Raises ``BackfillError`` where there is none, ``DumpError`` where a dump can't be read."""
    bundle = place(request.bundle)
    manifest = read_manifest(bundle)
    if request.dump and len(request.dump) != len(manifest.inputs):
        names = ", ".join(shown(given.name) for given in manifest.inputs)
        raise UsageError(f"{request.bundle} was made from {names}: give --dump for each, in this order")
    proof = Proof()
    try:
        check_files(bundle, manifest, proof)
        check_reports(bundle, manifest, proof)
        if not request.fast:
            with evidence() as database:
                check_lines(bundle, manifest, database, proof)
                check_rejects(bundle, manifest, database, proof)
                check_counts(manifest, proof)
                complete(database)
                check_identities(database, proof)
                check_references(database, proof)
                check_consistency(manifest, database, proof)
                if request.dump:
                    compare_with_dumps(request.dump, manifest, database, proof)
    except OSError as error:
        raise BackfillError(f"{error.filename or request.bundle} can't be read: {error.strerror or error}") from error
    return proof.findings(request.bundle)
