"""Records that are held in little memory are the records."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from medseg.run.packed import Packed, as_json, unpacked

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
RECORDS = st.dictionaries(st.text(), VALUES, max_size=5)


@given(record=RECORDS, other=RECORDS)
def test_a_record_comes_back_whatever_it_was_packed_like(
    record: dict[str, Any], other: dict[str, Any]
) -> None:
    packed = Packed(record, as_json(other))
    assert unpacked(packed) == unpacked(record) == record
    assert list(packed) == list(record)
    assert len(packed) == len(record)
    assert all(packed[key] == value for key, value in record.items())
    assert repr(packed) == repr(record)


def test_records_that_are_alike_take_little_room() -> None:
    def record(number: int) -> dict[str, Any]:
        told = {f"key {place}": f"a value that all have, {place}" for place in range(100)}
        return {"study": f"study_{number}", **told}

    assert len(as_json(record(1))) > 3000
    assert len(Packed(record(2), as_json(record(1)))._data) < 200
