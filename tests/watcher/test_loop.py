import os
import pathlib

from queue_processor.watcher import loop
from queue_processor.watcher.json_log import JsonLog
from queue_processor.watcher.loop import Heartbeat
from tests.watcher import scripted_imds, world
from tests.watcher.world import WatcherWorld

LONG_AGO = 1_000_000_000


def run_for(stage: WatcherWorld, seconds: float, path: pathlib.Path) -> None:
    def wait(pause: float) -> bool:
        stage.time.seconds += pause
        return stage.time.seconds >= seconds

    loop.run(stage.watcher, Heartbeat(str(path), JsonLog(stage.log)), wait)


def test_the_loop_polls_until_the_wait_ends_it(tmp_path: pathlib.Path) -> None:
    stage = world.make()

    run_for(stage, 100, tmp_path / "heartbeat")

    assert stage.imds.count("GET", scripted_imds.INSTANCE_ACTION) == 50


def test_each_turn_is_a_heartbeat_also_without_an_answer(tmp_path: pathlib.Path) -> None:
    stage = world.make()
    stage.imds.always = scripted_imds.HANGS
    path = tmp_path / "heartbeat"
    path.touch()
    os.utime(path, (LONG_AGO, LONG_AGO))

    run_for(stage, 1, path)

    assert path.stat().st_mtime > LONG_AGO


def test_without_a_folder_for_the_heartbeat_there_is_one_warning(tmp_path: pathlib.Path) -> None:
    stage = world.make()
    path = tmp_path / "missing" / "heartbeat"

    run_for(stage, 100, path)

    (line,) = stage.logged()
    assert line["event"] == "heartbeat_not_written"
    assert str(path) in line["cause"]
