"""Whatever bytes of an entry change, it is refused, or it is the entry that it was."""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from parallelbench.errors import SubmissionError
from parallelbench.leaderboards.entry import folder
from parallelbench.leaderboards.verify.verification import verify_folder

#: An edit of a file: cut these bytes out, and put those in.
EDITS = st.tuples(
    st.sampled_from(
        ("submission.yaml", "run.yaml", "environment.json", "results.json", "MANIFEST.json")
    )
    | st.just("records-000.jsonl.xz"),
    st.floats(0, 1, exclude_max=True),
    st.integers(0, 40),
    st.binary(max_size=8)
    | st.sampled_from((b"NaN", b"[[[[", b"&a *a", b"\xff", b"null", b"9" * 30)),
)


@pytest.fixture(scope="module")
def original(good):
    return verify_folder(good, "entry")


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(edits=st.lists(EDITS, min_size=1, max_size=3), inside=st.booleans(), sealed=st.booleans())
def test_a_changed_byte_never_changes_what_an_entry_holds(good, original, edits, inside, sealed):
    with tempfile.TemporaryDirectory() as place:
        entry = Path(shutil.copytree(good, Path(place) / "entry"))
        for name, share, cut, put in edits:
            change(entry / name, share, cut, put, inside=inside and name.endswith(".xz"))
        if sealed:
            folder.write_manifest(entry)
        try:
            found = verify_folder(entry, "entry")
        except SubmissionError:
            return
        assert found.records == original.records
        assert found.level == original.level


def change(file, share, cut, put, *, inside):
    content = file.read_bytes()
    content = folder.lzma.decompress(content) if inside else content
    start = int(share * len(content))
    content = content[:start] + put + content[start + cut :]
    file.write_bytes(folder.lzma.compress(content) if inside else content)
