"""The certificates of a RUN, one file per evaluation that shows what its model may search.

Their names are ``RUN/certificates/GALLERY_SPACE-DIGITS_OF_THE_DATA.json``.
"""

from __future__ import annotations

from pathlib import Path

from compat_sdk.certificate import Certificate
from compat_sdk.errors import ConfigError, CorruptFileError
from compat_sdk.files.atomic import make_folder
from compat_sdk.files.documents import read_json, write_json_atomic
from compat_sdk.shown import shortened

CERTIFICATES = "certificates"


def write_certificate(run: Path, certificate: Certificate) -> Path:
    """Writes a certificate beside the model that it is of; an earlier one of the same data is replaced.

    Returns:
        The file.

    Raises:
        OSError: The RUN cannot be written.
    """
    folder = run / CERTIFICATES
    make_folder(folder)
    path = folder / f"{certificate.gallery_space}-{certificate.data_sha256[:16]}.json"
    write_json_atomic(path, certificate.to_json())
    return path


def read_certificates(run: Path, space: str) -> tuple[Certificate, ...]:
    """The certificates of a RUN, ordered by name; none where nothing was certified.

    Args:
        run: RUN folder.
        space: Of its model.

    Raises:
        CorruptFileError: One was changed after it was written, or is of another model.
    """
    found = []
    for path in sorted((run / CERTIFICATES).glob("[!.]*.json")):
        try:
            certificate = Certificate.from_json(read_json(path))
        except ConfigError as error:
            raise CorruptFileError(f"{path} is damaged: {shortened(str(error), 160)}; or delete it") from error
        if certificate.query_space != space:
            raise CorruptFileError(
                f"{path} is of a model in space {certificate.query_space}, this one is in {space}; delete the file"
            )
        found.append(certificate)
    return tuple(found)
