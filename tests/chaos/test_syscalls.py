"""kill -9 at system calls that write: no commit is ever half there."""

from __future__ import annotations

import pytest

from chaos import syscalls

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.timeout(60)]


def test_a_run_that_is_killed_in_the_middle_of_a_commit_breaks_no_promise() -> None:
    if not syscalls.is_possible():
        # A tool of the machine, which `make test` does not bring; the other kill harnesses need nothing.
        pytest.skip("strace is not installed, or may not trace here")

    found = syscalls.run(kills=12)

    assert found.violations == []
    assert int(str(found.figures["calls that write"])) >= 200
    assert int(str(found.figures["kills"])) >= 10
