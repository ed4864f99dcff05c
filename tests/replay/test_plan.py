"""What a replay works out before it calls: charges, bounds, grants, and figures."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from app.cli import main
from app.replay.errors import ReplayError
from app.replay.figures import Times, read_credits, show_credits
from app.replay.plan import Options, Prices, Share, survey
from app.replay.trace import Call
from tests.support.traces import write_trace


def _options(trace: Path, **changed: object) -> Options:
    return Options(trace, "http://127.0.0.1:9/graphql", "key", **changed)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("context", "generated", "charge", "bound"),
    [
        (374, 44, 5_060, 374 * 10 + 64 * 30),
        (0, 0, 0, 64 * 30),
        (1, 64, 1_930, 10 + 64 * 30),
        (1, 65, 1_960, 10 + 128 * 30),
        (1, 1000, 30_010, 10 + 1024 * 30),
        (1, 1024, 30_730, 10 + 1024 * 30),
        (1, 1025, 30_760, 10 + 2048 * 30),
    ],
)
def test_a_bound_is_the_context_and_the_next_power_of_two(
    context: int, generated: int, charge: int, bound: int
) -> None:
    call = Call(2, 0.0, context, generated)
    prices = Prices(10, 30)
    assert (prices.charge(call), prices.bound(call)) == (charge, bound)


def test_free_tokens_reserve_the_least_there_is() -> None:
    call = Call(2, 0.0, 5, 5)
    assert (Prices(0, 0).charge(call), Prices(0, 0).bound(call)) == (0, 1)


def test_a_share_grants_every_bound_or_half_the_charge() -> None:
    share = Share(calls=3, charge=101, bounds=300)
    assert (share.grant(runs_out=False), share.grant(runs_out=True)) == (300, 50)


def test_a_call_lasts_twenty_milliseconds_a_token_divided_by_the_speed(tmp_path: Path) -> None:
    call = Call(2, 0.0, 1, 1000)
    assert _options(tmp_path, speed=20).duration(call) == 1.0
    assert _options(tmp_path, speed=20).ttl_seconds(call) == 301
    # A reservation holds for a day at most, and a late settle still charges.
    slow = _options(tmp_path, speed=0.0001)
    assert slow.ttl_seconds(call) == 86_400


def test_the_survey_finds_what_the_calls_will_be(tmp_path: Path) -> None:
    options = _options(write_trace(tmp_path / "t.csv"), organizations=10, speed=2)
    plan = survey(options)
    assert plan.calls == 300
    made = list(options.calls())
    for number, share in enumerate(plan.shares):
        own = [call for call, who in made if who == number]
        assert (share.calls, share.charge, share.bounds) == (
            len(own),
            sum(map(options.prices.charge, own)),
            sum(map(options.prices.bound, own)),
        )
    assert plan.seconds == made[-1][0].at / 2


def test_a_seed_decides_who_calls(tmp_path: Path) -> None:
    path = write_trace(tmp_path / "t.csv", calls=40)

    def callers(seed: int) -> list[int]:
        return [who for _, who in _options(path, seed=seed, organizations=5).calls()]

    assert callers(1) == callers(1)
    assert callers(1) != callers(2)
    assert set(callers(1)) == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("speed", [0.0, -1.0, float("nan")])
def test_a_speed_is_above_zero(tmp_path: Path, speed: float) -> None:
    with pytest.raises(ReplayError, match=r"^--speed must be above 0$"):
        _options(tmp_path, speed=speed)


def test_a_key_is_not_shown_with_the_options(tmp_path: Path) -> None:
    assert "very secret" not in repr(Options(tmp_path, "http://127.0.0.1:9/", "very secret"))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--organizations", "2", "--exhausted", "3"], "--exhausted: more than --organizations"),
        (["--microcredits-per-token", "10"], "must be two whole numbers below 10^7, such as 10,30"),
        (
            ["--microcredits-per-token", "1,-2"],
            "must be two whole numbers below 10^7, such as 10,30",
        ),
        (
            ["--microcredits-per-token", "1,10000000"],
            "must be two whole numbers below 10^7, such as 10,30",
        ),
        (["--speed", "0"], "0.0 is not in the range x>0."),
        (["--url", "ftp://here/graphql"], "--url must be an http address, not ftp://here/graphql"),
    ],
)
@pytest.mark.usefixtures("quiet_command")
def test_a_wrong_option_is_said_in_one_line(
    tmp_path: Path, arguments: list[str], complaint: str
) -> None:
    path = write_trace(tmp_path / "t.csv", calls=3)
    done = CliRunner().invoke(main, ["replay", str(path), "--key", "k", *arguments])
    assert (done.exit_code in (1, 2), done.stdout) == (True, "")
    assert done.stderr.splitlines()[-1].endswith(complaint)


def test_without_a_key_nothing_is_asked(tmp_path: Path) -> None:
    path = write_trace(tmp_path / "t.csv", calls=3)
    done = CliRunner(env={"EXCHEQUER_KEY": None}).invoke(main, ["replay", str(path)])
    assert done.exit_code == 2
    assert "Missing option '--key'" in done.stderr


@pytest.mark.parametrize(
    ("microcredits", "text"),
    [(0, "0.000000"), (1, "0.000001"), (12_500_000, "12.500000"), (-5_060, "-0.005060")],
)
def test_amounts_are_exact_both_ways(microcredits: int, text: str) -> None:
    assert show_credits(microcredits) == text
    assert read_credits(text) == microcredits


@pytest.mark.parametrize(
    ("text", "microcredits"), [("12.5", 12_500_000), ("3", 3_000_000), ("-0.25", -250_000)]
)
def test_amounts_are_read_as_the_server_writes_them(text: str, microcredits: int) -> None:
    assert read_credits(text) == microcredits


def test_percentiles_are_at_most_one_per_cent_too_high() -> None:
    times = Times()
    for milliseconds in range(1, 1001):
        times.add(milliseconds / 1000)
    for percent in (1, 50, 95, 99, 100):
        exact = percent / 100
        assert exact <= times.percentile(percent) <= exact * 1.01
    assert times.milliseconds()["max"] == 1000.0
    assert len(times._buckets) < 700


def test_times_of_nothing_and_of_no_time_are_told() -> None:
    times = Times()
    assert times.milliseconds() == {"p50": 0.0, "p95": 0.0, "p99": 0.0, "max": 0.0}
    times.add(0.0)
    assert times.milliseconds() == {"p50": 0.0, "p95": 0.0, "p99": 0.0, "max": 0.0}
    assert times.count == 1
