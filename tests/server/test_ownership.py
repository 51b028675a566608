"""One process owns a state directory, and death frees it."""

from __future__ import annotations

import os
import signal
import stat

import pytest

from infra_mcp.errors import InfraError
from infra_mcp.server.ownership import owned, prepared


def test_a_second_owner_is_refused_and_the_first_stays(tmp_path):
    with owned(tmp_path / "state"):
        for _ in range(2):
            with pytest.raises(InfraError) as caught, owned(tmp_path / "state"):
                raise NotImplementedError
            assert caught.value.code == "server-running"
    with owned(tmp_path / "state"):
        assert (tmp_path / "state" / "lock").exists()


@pytest.mark.filterwarnings("ignore:This process")
def test_death_by_sigkill_frees_the_lock(tmp_path):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with owned(tmp_path / "state"):
                os.write(writer, b"1")
                signal.pause()
        finally:
            os._exit(1)
    assert os.read(reader, 1) == b"1"
    with pytest.raises(InfraError), owned(tmp_path / "state"):
        raise NotImplementedError
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(reader)
    os.close(writer)

    with owned(tmp_path / "state"):
        pass


def test_state_is_for_this_user_only(tmp_path):
    (tmp_path / "state").mkdir(mode=0o755)
    prepared(tmp_path / "state")

    for folder in ("state", "state/run"):
        assert stat.S_IMODE((tmp_path / folder).stat().st_mode) == 0o700


def test_a_state_directory_that_is_a_file_is_refused_by_name(tmp_path):
    (tmp_path / "state").write_text("")
    with pytest.raises(InfraError, match="state") as caught:
        prepared(tmp_path / "state")
    assert caught.value.code == "setup-failed"


def test_a_lock_that_is_a_symlink_is_not_followed(tmp_path):
    prepared(tmp_path / "state")
    (tmp_path / "state" / "lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InfraError) as caught, owned(tmp_path / "state"):
        raise NotImplementedError
    assert caught.value.code == "setup-failed"
    assert not (tmp_path / "elsewhere").exists()
