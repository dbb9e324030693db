#!/usr/bin/env python3
"""Tests of what bench/compare.py is made of; nothing is measured."""
from __future__ import annotations

import sys
import tempfile
import unittest
import xml.etree.ElementTree as xml
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parent))

import compare  # noqa: E402
from comparison import machine, picture, programs, ratios, report  # noqa: E402
from comparison.programs import Line  # noqa: E402
from comparison.samples import Key, Samples, choose_state, middle, natural, parse_rows, state_of  # noqa: E402


def result_of(*rows: tuple[str, str, str, str, float]) -> report.Result:
    """From (state, scenario, peer, metric, value)."""
    samples = Samples()
    for state, scenario, peer, metric, value in rows:
        samples.add(state, {Key(scenario, peer, metric): value})
    return report.Result(samples, wanted=1)


class Rows(unittest.TestCase):
    def test_reads_the_median(self) -> None:
        self.assertEqual(parse_rows("S1.subs=1\ttokio\tns\t2.5\t1\t3\n"), {Key("S1.subs=1", "tokio", "ns"): 2.5})

    def test_refuses_what_is_no_row(self) -> None:
        for text in ("hello", "a\tb\tc\td\te\tf", "a\tb\tc\t1\t2"):
            with self.assertRaises(ValueError):
                parse_rows(text)

    def test_medians_as_the_programs_take_them(self) -> None:
        self.assertEqual(middle([3, 1, 2]).median, 2)
        self.assertEqual(middle([4, 1, 2, 3]).median, 3)
        self.assertEqual((middle([3, 1, 2]).least, middle([3, 1, 2]).most), (1, 3))

    def test_scenarios_sort_by_size(self) -> None:
        names = ["S1.thread.subs=1", "S1.subs=16", "S1.subs=4"]
        self.assertEqual(sorted(names, key=natural), ["S1.subs=4", "S1.subs=16", "S1.thread.subs=1"])


class States(unittest.TestCase):
    def test_by_probes_and_by_foreign_work(self) -> None:
        self.assertEqual(state_of((80, 200), 0), "near")
        self.assertEqual(state_of((79, 100), 0), "other")
        self.assertEqual(state_of((100, 201), 0), "other")
        self.assertEqual(state_of((351, 900), 0), "far")
        self.assertEqual(state_of((100, 900), 0), "other")
        self.assertEqual(state_of((100, 100), 0.1), "busy")

    def test_near_is_preferred_when_there_is_enough_of_it(self) -> None:
        self.assertEqual(choose_state({"near": {"a": 3, "b": 3}, "other": {"a": 9, "b": 9}}, 3), "near")
        self.assertEqual(choose_state({"near": {"a": 3, "b": 2}, "other": {"a": 9, "b": 9}}, 3), "other")

    def test_else_the_state_that_everybody_has_most_of(self) -> None:
        self.assertEqual(choose_state({"far": {"a": 2, "b": 2}, "other": {"a": 9, "b": 1}}, 3), "far")
        self.assertEqual(choose_state({"busy": {"a": 9, "b": 9}, "other": {"a": 1, "b": 1}}, 3), "other")
        self.assertEqual(choose_state({"busy": {"a": 1, "b": 1}, "other": {"a": 1, "b": 0}}, 3), "busy")
        self.assertIsNone(choose_state({"far": {"a": 1, "b": 0}, "near": {"a": 0, "b": 1}}, 1))

    def test_foreign_work_is_what_is_not_ours(self) -> None:
        self.assertAlmostEqual(machine.foreign_cores(3.0, 2.0, 1.0), 1 - 4 / machine.TICKS_PER_SECOND)
        self.assertLess(machine.foreign_cores(2.0, 2.0, 1.0), 0)


class Ratios(unittest.TestCase):
    def test_more_than_one_is_better_in_both_directions(self) -> None:
        self.assertEqual(ratios.ratio("ns_per_delivery", 10, 40), 4)
        self.assertEqual(ratios.ratio("delivered_per_s", 40, 10), 4)
        self.assertEqual(ratios.ratio("delivered_pct", 40, 10), 4)
        self.assertEqual(ratios.ratio("counted_lag_pct", 10, 40), 4)
        self.assertEqual(ratios.ratio("rss_bytes_per_subscriber", 10, 40), 4)

    def test_nothing_where_it_means_nothing(self) -> None:
        self.assertIsNone(ratios.ratio("p50_ns", 10, None))
        self.assertIsNone(ratios.ratio("uncounted_loss_pct", 0, 5))
        self.assertIsNone(ratios.ratio("uncounted_loss_pct", 5, 0))

    def test_threads_are_compared_with_the_tasks_of_the_reference_in_s7(self) -> None:
        result = result_of(("near", "S7.pubs=2", "tokio-sharingbus", "ns_per_event", 100),
                           ("near", "S7.thread.pubs=2", "sharingbus", "ns_per_event", 50))
        self.assertEqual(result.ratio(Key("S7.thread.pubs=2", "sharingbus", "ns_per_event"), "near"), 2)

    def test_verdicts(self) -> None:
        target = ratios.Target("S", "m", 8, 14)
        self.assertEqual([target.verdict(v) for v in (None, 7.9, 8, 14)], ["-", "MISSED", "met", "stretch"])
        bound = ratios.Target("S", "m", 300, 170, "bound")
        self.assertEqual([bound.verdict(v) for v in (301, 300, 170)], ["MISSED", "met", "stretch"])
        self.assertEqual(ratios.Target("S", "m", 0, kind="bound").verdict(0), "met")

    def test_every_target_is_of_a_line_that_runs(self) -> None:
        for target in ratios.TARGETS:
            self.assertTrue(any(report.belongs(target.scenario, line) for line in programs.LINES), target)


class Selection(unittest.TestCase):
    def test_lines(self) -> None:
        self.assertTrue(programs.selected(Line("S1", 4), []))
        self.assertTrue(programs.selected(Line("S1", 4), ["S1"]))
        self.assertTrue(programs.selected(Line("S1", 4), ["S2", "S1.thread"]))
        self.assertTrue(programs.selected(Line("S1", 4), ["S1.thread.subs=4"]))
        self.assertFalse(programs.selected(Line("S1", 4), ["S1.subs=16"]))
        self.assertFalse(programs.selected(Line("S1", 4), ["S"]))

    def test_rows(self) -> None:
        self.assertTrue(programs.row_selected("S1.thread.subs=4", ["S1"]))
        self.assertTrue(programs.row_selected("S1.thread.subs=4", ["S1.thread.subs"]))
        self.assertFalse(programs.row_selected("S1.subs=4", ["S1.thread"]))
        self.assertFalse(programs.row_selected("S1.subs=16", ["S1.subs=1"]))

    def test_ours_runs_only_the_part_that_is_asked_for(self) -> None:
        reference, ours = programs.programs(Path("b"), Path("s"))[:2]
        self.assertEqual(programs.arguments(ours, Line("S1", 4), ["S1.thread.subs=4", "S3"]), ["S1.thread.subs"])
        self.assertEqual(programs.arguments(ours, Line("S1", 4), []), ["S1"])
        self.assertEqual(programs.arguments(reference, Line("S1", 4), ["S1.thread"]), ["S1"])

    def test_what_is_missing_is_named(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for program in programs.programs(Path(folder), Path(folder)):
                self.assertTrue(program.missing())


class Output(unittest.TestCase):
    RESULT = (("near", "S1.subs=1", "tokio-sharingbus", "ns_per_delivery", 160.0),
              ("near", "S1.subs=1", "sharingbus", "ns_per_delivery", 10.0),
              ("near", "S1.subs=1", "sharingbus+2threads", "ns_per_delivery", 80.0),
              ("far", "S1.subs=1", "sharingbus", "ns_per_delivery", 99.0),
              ("far", "S1.subs=1", "zeromq", "ns_per_delivery", 300.0),
              ("other", "S4.pinned.subs=1", "sharingbus", "p50_ns", 500.0))

    def test_tsv(self) -> None:
        lines = report.tsv(result_of(*self.RESULT)).splitlines()
        self.assertEqual(lines[0].split("\t"), ["scenario", "peer", "metric", "median", "min", "max", "ratio_to_tokio"])
        self.assertIn("S1.subs=1\tsharingbus\tns_per_delivery\t10.000\t10.000\t10.000\t16.000", lines)
        self.assertIn("S1.subs=1\ttokio-sharingbus\tns_per_delivery\t160\t160\t160\t1.000", lines)
        self.assertIn("S4.pinned.subs=1\tsharingbus\tp50_ns\t500\t500\t500\t-", lines)
        self.assertEqual(lines[-1], "# state\tS4.pinned.subs=1\tother")

    def test_other_states_are_kept_apart(self) -> None:
        lines = report.tsv_of_other_states(result_of(*self.RESULT)).splitlines()
        self.assertEqual(len(lines), 3)
        self.assertIn("far\tS1.subs=1\tsharingbus\tns_per_delivery\t99.000\t99.000\t99.000\t-", lines)

    def test_table(self) -> None:
        result = result_of(*self.RESULT)
        result.failures["nats", Line("S1", 1)] = "exit code 1"
        result.skipped["disruptor"] = "no java"
        text = report.table(result)
        for part in ("8x (14x) stretch", "8x (14x) MISSED", "only in state far", "[state: other, not near]",
                     "FAILED: nats S1/1: exit code 1", "skipped: disruptor: no java"):
            self.assertIn(part, text)

    def test_growth_of_s3(self) -> None:
        result = result_of(("near", "S3.subs=16", "sharingbus", "ns_per_event", 10),
                           ("near", "S3.subs=10000", "sharingbus", "ns_per_event", 20))
        self.assertEqual(report.growth_of_s3(result), 2)
        self.assertIsNone(report.growth_of_s3(result_of(*self.RESULT)))


class Picture(unittest.TestCase):
    def test_is_well_formed_and_has_every_line(self) -> None:
        svg = picture.chart("a < b", ("x", "y"), {"one": [(1, 2), (10, 300)], "two & three": [(1, 5), (4, 1)]}, ["one"])
        texts = [element.text for element in xml.fromstring(svg).iter() if element.tag.endswith("text")]
        for text in ("a < b", "x", "y", "one", "two & three", "10"):
            self.assertIn(text, texts)

    def test_nothing_to_draw(self) -> None:
        self.assertEqual(picture.chart("t", ("x", "y"), {}, []), "")

    def test_single_points_are_drawn_only_when_there_is_no_line(self) -> None:
        self.assertEqual(list(picture.drawn({"line": [(1, 1), (2, 2)], "point": [(1, 1)]})), ["line"])
        self.assertEqual(list(picture.drawn({"point": [(1, 1)]})), ["point"])
        self.assertTrue(picture.chart("t", ("x", "y"), {"point": [(1, 1)]}, []))

    def test_ticks(self) -> None:
        self.assertEqual(picture.ticks(1, 10), [1, 2, 5, 10])
        self.assertEqual(picture.ticks(1, 1e5), [1, 10, 100, 1000, 10_000, 100_000])


class Programs(unittest.TestCase):
    def test_a_failing_program_is_told_with_its_last_words(self) -> None:
        failed = machine.run(["sh", "-c", "echo wrong count >&2; exit 3"], {})
        self.assertEqual(failed.failure, "exit code 3: wrong count")
        self.assertEqual(machine.run(["sh", "-c", 'echo "$X"'], {"X": "y"}).output, "y\n")

    def test_a_program_without_end_is_ended(self) -> None:
        self.assertIn("no end", machine.run(["sleep", "60"], {}, timeout=0.05).failure)

    def test_options(self) -> None:
        options = compare.parse_options(["--quick", "--scenario", "S1"])
        self.assertEqual((options.secs, options.reps, options.scenario), (0.15, 5, ["S1"]))
        self.assertEqual(compare.parse_options([]).secs, 0.5)
        with self.assertRaises(SystemExit):
            compare.choose(compare.parse_options(["--peer", "nobody"]))


if __name__ == "__main__":
    unittest.main()
