"""SecantusDB's server, with dates after the year 9999 allowed, as MongoDB allows them.

It decodes with pymongo's default options, which refuse a BSON date that Python's ``datetime`` can't hold.
"""

import bson
from bson.codec_options import DatetimeConversion

bson.DEFAULT_CODEC_OPTIONS = bson.DEFAULT_CODEC_OPTIONS.with_options(
    datetime_conversion=DatetimeConversion.DATETIME_AUTO
)

from secantus.cli import main  # noqa: E402

main()
