# SPDX-License-Identifier: MIT
"""Tests of the benchmarks' report: rules, table, exit status, curves. `make test-bench-report`.

The last line is `N passed, N failed`, as tools/check/tally.sh wants it.
"""
import contextlib
import io
import json
import os
import re
import sys
import tempfile
import unittest
import xml.etree.ElementTree as xml

sys.path[1:1] = [os.path.join(sys.path[0], part) for part in ("vm", "kernel")]

import bars
import bounds
import count
import curves
import kernel_report
import latency_report
import page
import report
import rules
import sections
import vm_report

PEERS = {"glibc": "1", "mimalloc": "2", "jemalloc": "3", "tcmalloc": "4"}


def lines(figures, versions=None, more=()):
    """The input of a run: {case: {allocator: figure or figures}}."""
    out = [f"version\t{p}\t{v}" for p, v in (PEERS if versions is None else versions).items()]
    for case, by_allocator in figures.items():
        out.append(f"case\t{case}\t{' '.join(by_allocator)}")
        for allocator, values in by_allocator.items():
            values = values if isinstance(values, list) else [values]
            out += [f"launch\t{case}\t{allocator}\t{v}" for v in values]
    return out + list(more)


def run_of(figures, **options):
    return rules.read(lines(figures, **options))


def malloc(quarry, glibc, mimalloc, jemalloc, tcmalloc):
    return {"quarry": quarry, "glibc": glibc, "mimalloc": mimalloc, "jemalloc": jemalloc,
            "tcmalloc": tcmalloc}


def judged(name, figures, **options):
    return rules.case_of(run_of(figures, **options), name)


class Rules(unittest.TestCase):
    def test_best_malloc_is_the_fastest_peer_of_the_case(self):
        case, _ = judged("hot-64", {"hot-64": malloc(3, 6, 5, 4, 8)})
        self.assertEqual((case["ratio"], case["bar"], case["met"]), (0.75, 1.0, True))
        case, _ = judged("hot-64", {"hot-64": malloc(5, 6, 5, 4, 8)})
        self.assertEqual((case["ratio"], case["met"]), (1.25, False))

    def test_a_ratio_on_the_bar_meets_it(self):
        self.assertTrue(judged("hot-64", {"hot-64": malloc(4, 4, 5, 6, 7)})[0]["met"])

    def test_mixed_holds_only_against_best_and_second_best(self):
        within_both, found = judged("mixed-1k", {"mixed-1k": malloc(11, 10, 12, 30, 40)})
        self.assertEqual([b["ratio"] for b in found], [1.1, 11 / 12])
        self.assertTrue(within_both["met"])
        slow_to_second, found = judged("mixed-1k", {"mixed-1k": malloc(11.5, 10, 11, 30, 40)})
        self.assertEqual([b["met"] for b in found], [True, False])
        self.assertFalse(slow_to_second["met"])
        self.assertEqual(len(slow_to_second["bars"]), 2)
        slow_to_best, found = judged("mixed-1k", {"mixed-1k": malloc(13, 10, 14, 30, 40)})
        self.assertEqual([b["met"] for b in found], [False, True])
        self.assertFalse(slow_to_best["met"])

    def test_two_equal_mallocs_are_best_and_second_best(self):
        _, found = judged("mixed-1k", {"mixed-1k": malloc(11, 10, 10, 30, 40)})
        self.assertEqual([b["value"] for b in found], [10, 10])

    def test_pages_are_measured_by_the_best_mallocs_hot_64(self):
        figures = {"hot-64": malloc(9, 6, 4, 5, 8), "pages-hot": {"quarry": 6},
                   "pages-random": {"quarry": 21}}
        hot, _ = judged("pages-hot", figures)
        self.assertEqual((hot["ratio"], hot["met"]), (1.5, True))
        self.assertEqual(hot["peers"], {"glibc": 6, "mimalloc": 4, "jemalloc": 5, "tcmalloc": 8})
        random, _ = judged("pages-random", figures)
        self.assertEqual((random["ratio"], random["bar"], random["met"]), (5.25, 5.0, False))

    def test_a_case_may_be_measured_by_another_of_quarrys(self):
        for name, base, bound in (("pages-threads", "pages-hot", 1.3),
                                  ("bitmap-full", "bitmap-hot", 1.5),
                                  ("fixed-full", "fixed-hot", 1.3)):
            case, _ = judged(name, {base: {"quarry": 10}, name: {"quarry": 10 * bound}})
            self.assertEqual((case["ratio"], case["met"]), (bound, True), name)
            case, _ = judged(name, {base: {"quarry": 10}, name: {"quarry": 10 * bound + 1}})
            self.assertFalse(case["met"], name)

    def test_ranges_are_measured_by_glibcs_hot_64_and_the_largest_by_the_smallest(self):
        for stem, times, growth in (("range-", 12, 2.0), ("range-handle-", 8, 1.5)):
            figures = {"hot-64": malloc(9, 10, 2, 3, 4), stem + "1k": {"quarry": 40},
                       stem + "100k": {"quarry": 40 * growth}}
            case, found = judged(stem + "100k", figures)
            self.assertEqual([b["bar"] for b in found], [times, growth])
            self.assertEqual([b["ratio"] for b in found], [4 * growth, growth])
            self.assertTrue(case["met"])
            figures[stem + "100k"] = {"quarry": 40 * growth + 1}
            case, found = judged(stem + "100k", figures)
            self.assertEqual([b["met"] for b in found], [True, False])
            self.assertFalse(case["met"])
            self.assertEqual(judged(stem + "1k", figures)[0]["peers"], {"glibc": 10})

    def test_a_pure_number_is_its_own_ratio(self):
        case, _ = judged("growth-hot", {"growth-hot": {"quarry": 1.05}})
        self.assertEqual((case["unit"], case["ratio"], case["met"]), ("ratio", 1.05, True))
        self.assertFalse(judged("growth-hot", {"growth-hot": {"quarry": 1.2}})[0]["met"])

    def test_a_pure_number_may_have_a_least(self):
        for name, least in (("range-fill", 0.99), ("range-churn", 0.995), ("range-aligned", 0.98)):
            case, _ = judged(name, {name: {"quarry": least}})
            self.assertEqual((case["sense"], case["met"]), ("at least", True))
            self.assertFalse(judged(name, {name: {"quarry": least - 0.001}})[0]["met"])

    def test_a_number_of_zero_is_judged(self):
        self.assertTrue(judged("tail", {"tail": {"quarry": 0}})[0]["met"])

    def test_figures_are_medians_with_their_spread(self):
        case, _ = judged("hot-64", {"hot-64": malloc([9, 3, 4], [6, 7, 90], 8, 8, 8)})
        self.assertEqual((case["quarry"], case["peers"]["glibc"]), (4, 7))
        self.assertEqual((case["min"]["quarry"], case["max"]["glibc"]), (3, 90))
        self.assertEqual((case["launches"], case["ratio_of_minima"]), (3, 0.5))

    def test_a_case_without_a_bar_is_measured_only(self):
        case, _ = judged("new", {"new": malloc(3, 6, 7, 8, 9)})
        self.assertEqual((case["ratio"], case["bar"], case["met"]), (0.5, None, None))


class Missing(unittest.TestCase):
    def test_an_absent_peer_is_named_and_the_bar_is_not_met_without_it(self):
        figures = {"hot-64": malloc(3, 6, [], 7, 8)}
        case, _ = judged("hot-64", figures, more=["absent\tmimalloc\tnot installed"])
        self.assertEqual(case["missing"], {"mimalloc": "not installed"})
        self.assertIsNone(case["met"])
        self.assertEqual(case["ratio"], 0.5)

    def test_a_bar_that_the_other_peers_rule_out_is_missed_all_the_same(self):
        case, _ = judged("hot-64", {"hot-64": malloc(9, 6, [], 7, 8)})
        self.assertFalse(case["met"])
        self.assertIsNotNone(case["met"])

    def test_a_failed_launch_is_told_with_its_reason(self):
        case, _ = judged("hot-64", {"hot-64": malloc([3, 3], 6, 5, 7, 8)},
                         more=["failed\thot-64\tquarry\texit 1: no heap"])
        self.assertEqual(case["missing"], {"quarry": "1 of 3 launches failed: exit 1: no heap"})
        self.assertIsNone(case["met"])

    def test_a_case_without_any_figure_stays_in_the_report(self):
        case, _ = judged("tail", {"tail": {"quarry": []}}, more=["failed\ttail\tquarry\texit 1"])
        self.assertEqual((case["quarry"], case["ratio"], case["met"]), (None, None, None))
        self.assertIn("quarry", case["missing"])

    def test_a_yardstick_that_was_not_run_is_named(self):
        case, found = judged("pages-threads", {"pages-threads": {"quarry": 3}})
        self.assertIsNone(case["met"])
        self.assertEqual(found[0]["why"], "quarry has no figure at pages-hot")
        self.assertEqual(case["missing"], {"yardstick": "quarry has no figure at pages-hot"})

    def test_a_full_run_names_every_case_with_a_bar(self):
        found, _ = report.report_of(run_of({"tail": {"quarry": 0.01}},
                                           more=["fact\tselection\tall"]))
        names = [case["name"] for case in found["cases"]]
        self.assertEqual(sorted(names), sorted(bars.BARS))
        lost = next(case for case in found["cases"] if case["name"] == "range-1k")
        self.assertEqual(lost["missing"], {"quarry": "host_bench has no such case"})

    def test_a_chosen_run_names_only_what_was_chosen(self):
        found, _ = report.report_of(run_of({"tail": {"quarry": 0.01}}))
        self.assertEqual([case["name"] for case in found["cases"]], ["tail"])

    def test_an_unknown_line_is_an_error(self):
        with self.assertRaises(ValueError):
            rules.read(["nonsense\ta\tb"])


class Table(unittest.TestCase):
    def screen(self, figures, **options):
        """(exit status, what is printed, host.json)"""
        with tempfile.TemporaryDirectory() as place:
            tsv, out = os.path.join(place, "in.tsv"), os.path.join(place, "host.json")
            with open(tsv, "w", encoding="utf-8") as file:
                file.write("\n".join(lines(figures, **options)) + "\n")
            text, argv = io.StringIO(), sys.argv
            sys.argv = ["report.py", tsv, out]
            try:
                with contextlib.redirect_stdout(text):
                    status = report.main()
            finally:
                sys.argv = argv
            with open(out, encoding="utf-8") as file:
                return status, text.getvalue(), json.load(file)

    def test_a_miss_is_marked_and_listed_and_no_error(self):
        status, text, found = self.screen({"hot-64": malloc(5, 6, 5, 4, 8)})
        self.assertEqual(status, 0)
        self.assertRegex(text, r"hot-64 .* 1\.25 +<1 +MISSED")
        self.assertIn("missed:\n  hot-64 1.25 (at most 1 to best malloc)", text)
        self.assertFalse(found["cases"][0]["met"])

    def test_a_miss_says_what_its_bound_is_and_what_was_tried(self):
        _, text, found = self.screen({"growth-random": malloc(9, 6, 5, 4, 8), "hot-64": malloc(3, 6, 5, 4, 8)})
        self.assertRegex(text, r"\ngrowth-random: a free that is checked reads .*live byte")
        self.assertIn("tried:", found["cases"][0]["bound"])
        self.assertNotIn("bound", found["cases"][1])
        self.assertNotIn("\nhot-64:", text)

    def test_a_bound_is_told_of_cases_that_have_a_bar(self):
        self.assertEqual([name for name in bounds.BOUNDS if name not in bars.HOST_BARS], [])

    def test_both_bars_of_mixed_are_shown(self):
        _, text, _ = self.screen({"mixed-1k": malloc(11, 10, 12, 30, 40)})
        self.assertIn("<1.2", text)
        self.assertIn("to second best malloc", text)
        self.assertIn("1 of 1 cases with a bar meet it", text)

    def test_what_did_not_run_is_an_error_with_its_reason(self):
        status, text, found = self.screen({"hot-64": malloc(3, 6, 5, 4, [])},
                                          more=["failed\thot-64\ttcmalloc\texit 139: "])
        self.assertEqual(status, 1)
        self.assertIn("hot-64: tcmalloc: 1 of 1 launches failed: exit 139", text)
        self.assertEqual(found["cases"][0]["peers"].get("tcmalloc"), None)

    def test_cases_that_lack_the_same_are_one_line(self):
        status, text, _ = self.screen({"tail": {"quarry": 0.01}}, more=["fact\tselection\tall"])
        self.assertEqual(status, 1)
        line = next(found for found in text.splitlines() if "no such case" in found)
        self.assertIn("hot-64 lifo-64", line)
        self.assertEqual(line.count("metadata-client-"), 1)
        self.assertNotIn("hot-64  ", text)

    def test_the_report_says_the_machine_its_load_and_the_versions(self):
        _, text, found = self.screen({"hot-64": malloc(3, 6, 5, 4, 9)},
                                     more=["fact\tload\t0.1 0.2 0.3; 0.4 0.2 0.3"])
        self.assertIn("load average before and behind: 0.1 0.2 0.3; 0.4 0.2 0.3", text)
        self.assertEqual(found["versions"], PEERS)
        self.assertTrue(found["machine"])

    def test_every_required_key_stands_in_the_json(self):
        _, _, found = self.screen({"hot-64": malloc(3, 6, 5, 4, 9), "tail": {"quarry": 0.01}})
        for case in found["cases"]:
            for key in ("name", "unit", "quarry", "peers", "ratio", "bar", "met", "min", "max"):
                self.assertIn(key, case)

    def test_a_family_of_classes_is_one_line_unless_one_is_missed(self):
        good = {f"metadata-cache-{s}": {"quarry": 0.01 if s != 72 else 0.03} for s in bars.CLASSES}
        _, text, found = self.screen(good)
        self.assertEqual(text.count("metadata-cache-"), 1)
        self.assertIn("metadata-cache-72", text)
        self.assertEqual(len(found["cases"]), 48)
        _, text, _ = self.screen({**good, "metadata-cache-64": {"quarry": 0.05}})
        self.assertRegex(text, r"metadata-cache-64 .*MISSED")

    def test_a_curve_is_written_beside_the_json(self):
        status, text, found = self.screen({}, more=["point\tcurve-hot\tquarry\t10\t3",
                                                    "point\tcurve-hot\tquarry\t10\t5",
                                                    "point\tcurve-hot\tquarry\t100\t6"])
        self.assertEqual(status, 0)
        self.assertIn("curve-hot.svg", text)
        self.assertEqual(found["curves"], {"curve-hot": {"quarry": {"10": 4, "100": 6}}})

    def test_a_failed_point_of_a_curve_is_an_error(self):
        status, text, _ = self.screen({}, more=["failed\tcurve-hot\tglibc\twith 10 live: exit 1"])
        self.assertEqual(status, 1)
        self.assertIn("curve curve-hot: glibc: with 10 live: exit 1", text)


class Bars(unittest.TestCase):
    def test_every_yardstick_is_a_case_with_a_bar(self):
        for name, found in bars.BARS.items():
            for bar in found:
                self.assertTrue(not bar.yardstick.case or bar.yardstick.case in bars.BARS, name)

    def test_a_chosen_case_brings_its_yardsticks(self):
        self.assertEqual(bars.with_yardsticks(["pages-threads"]),
                         ["pages-threads", "pages-hot", "hot-64"])
        self.assertEqual(bars.with_yardsticks(["hot-64"]), ["hot-64"])
        self.assertEqual(bars.with_yardsticks(["unheard-of"]), ["unheard-of"])

    def test_metadata_has_a_bound_by_class(self):
        self.assertEqual([bars.metadata_bound(s) for s in (8, 16, 56, 64, 2048)],
                         [0.17, 0.125, 0.125, 0.032, 0.032])
        self.assertEqual((len(bars.CLASSES), bars.CLASSES[0], bars.CLASSES[8], bars.CLASSES[-1]),
                         (48, 8, 72, 2048))


class Curves(unittest.TestCase):
    POINTS = {"quarry": {10: 9.0, 1000: 10.0, 10**6: 30.0}, "glibc": {10: 8.0, 1000: 9, 10**6: 120}}

    def test_an_svg_is_well_formed_with_a_line_and_a_label_for_each_allocator(self):
        root = xml.fromstring(curves.svg("curve-hot", self.POINTS))
        space = "{http://www.w3.org/2000/svg}"
        self.assertEqual(len(root.findall(space + "polyline")), 2)
        words = [t.text for t in root.findall(space + "text")]
        self.assertTrue({"quarry", "glibc", "10", "1k", "1M"} <= set(words))

    def test_every_point_lies_inside_the_frame(self):
        root = xml.fromstring(curves.svg("curve-hot", self.POINTS))
        for line in root.iter("{http://www.w3.org/2000/svg}polyline"):
            for place in line.get("points").split():
                x, y = map(float, place.split(","))
                self.assertTrue(curves.LEFT <= x <= curves.WIDTH - curves.RIGHT)
                self.assertTrue(curves.TOP <= y <= curves.HEIGHT - curves.BOTTOM)

    def test_both_axes_are_logarithmic(self):
        line = xml.fromstring(curves.svg("c", {"quarry": {10: 1.0, 100: 10.0, 1000: 100.0}})).find(
            "{http://www.w3.org/2000/svg}polyline")
        places = [tuple(map(float, p.split(","))) for p in line.get("points").split()]
        for axis in (0, 1):
            first, second = (places[i + 1][axis] - places[i][axis] for i in (0, 1))
            self.assertAlmostEqual(first, second, delta=0.2)

    def test_labels_never_cover_each_other(self):
        placed = curves.apart([(50, "a"), (51, "b"), (52, "c"), (200, "d")], 15, 40, 205)
        heights = [y for y, _ in placed]
        self.assertTrue(all(b - a >= 15 for a, b in zip(heights, heights[1:])))
        self.assertLessEqual(heights[-1], 205)

    def test_one_point_is_drawn(self):
        xml.fromstring(curves.svg("c", {"quarry": {10: 5.0}}))


class Count(unittest.TestCase):
    DUMP = """events: Ir Dr
fn=(1) first
0 10 3
calls=2 0
0 70 20
+3 5 1
fn=(2) second
cfn=(3) third
calls=1 0
0 9 9
0 4 2
fn=(1)
0 1 1
"""

    def test_only_a_functions_own_costs_are_its(self):
        with tempfile.NamedTemporaryFile("w", suffix=".1") as file:
            file.write(self.DUMP)
            file.flush()
            self.assertEqual(count.self_costs(file.name),
                             (["Ir", "Dr"], {"first": [16, 5], "second": [4, 2]}))

    def test_a_function_goes_by_its_name_without_types(self):
        for name, wanted in (("quarry_core_heap_try_free", "try_free"), ("_int_free", "_int_free"),
                             ("quarry::Result<quarry::X> quarry::PageCache<P, 12u>::alloc(quarry::Zone)",
                              "PageCache::alloc"),
                             ("double (anonymous namespace)::hot_64<bench::Quarry>()", "case")):
            self.assertEqual(count.short(name), wanted)


class Page(unittest.TestCase):
    CASES = [
        {"name": "fast <64>", "unit": "ns", "quarry": 3.0, "peers": {"glibc": 6.0}, "ratio": 0.5, "bar": 1.0,
         "met": True},
        {"name": "slow", "unit": "ns", "quarry": 9.0, "peers": {"glibc": 6.0}, "ratio": 1.5, "bar": 1.0,
         "met": False, "bound": "the memory & the bus"},
        {"name": "counted", "unit": "instructions", "quarry": 45.0, "peers": {"kernel": 90.0}, "ratio": 0.5,
         "yardstick": "1", "bar": 60, "met": True},
        {"name": "told", "unit": "ns", "quarry": 2500.0, "peers": {}, "ratio": None, "bar": None, "met": None},
    ]

    def made(self, **files):
        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                    file.write(content)
            with contextlib.redirect_stdout(io.StringIO()):
                status = page.main(folder)
            texts = []
            for name in ("report.html", "summary.md"):
                path = os.path.join(folder, name)
                texts.append(open(path, encoding="utf-8").read() if os.path.exists(path) else "")
            return status, *texts

    def test_the_page_is_whole_and_names_every_case(self):
        status, text, _ = self.made(**{"host.json": json.dumps({"machine": "a <machine>", "cases": self.CASES}),
                                       "curve-hot.svg": curves.svg("curve-hot", {"quarry": {10: 5.0, 100: 6.0}})})
        self.assertEqual(status, 0)
        root = xml.fromstring(text.split("\n", 1)[1])
        names = [e.text for e in root.iter("b")]
        self.assertEqual(names, ["fast <64>", "slow", "counted", "told"])
        self.assertEqual(len([e for e in root.iter() if e.get("class") == "missed"]), 1)
        self.assertEqual(len([e for e in root.iter() if e.get("class") == "curve"]), 1)
        self.assertIn("width=device-width", text)
        self.assertIn("@media print", text)
        self.assertNotIn("http://", re.sub(r'xmlns="[^"]*"', "", text))
        self.assertNotIn("https://", text)

    def test_the_summary_counts_and_names_what_is_missed(self):
        _, _, text = self.made(**{"vm.json": json.dumps({"cases": self.CASES})})
        self.assertIn("| 2 of 3 | slow (1.50 of its bar) |", text)

    def test_a_case_whose_yardstick_is_1_is_held_to_its_own_figure(self):
        self.assertAlmostEqual(page.share(self.CASES[2]), 0.75)

    def test_without_figures_it_says_what_to_do(self):
        status, text, _ = self.made()
        self.assertEqual((status, text), (1, ""))


class Latency(unittest.TestCase):
    LINES = "\n".join(
        f"[    1.7] latency: {case} {call} {who} 1000 44 60 90 {longest}\n"
        f"[    1.7] latency-part: {case} {call} {who} 44:990 60:9\n[    1.7] latency-part: {case} {call} {who} 88:1"
        for case, peer in (("object_64", "kmem_cache"), ("any_size", "kmalloc"), ("pages_0_3", "alloc_pages"), ("range", ""))
        for call in ("alloc", "free")
        for who, longest in (("quarry", 95), (peer, 190)) if who)

    def reported(self, lines):
        with tempfile.TemporaryDirectory() as folder:
            paths = [os.path.join(folder, name) for name in ("latency.lines", "latency.json")]
            with open(paths[0], "w", encoding="utf-8") as file:
                file.write(lines)
            with contextlib.redirect_stdout(io.StringIO()) as told:
                status = latency_report.main(*paths)
            cases = json.load(open(paths[1], encoding="ascii"))["cases"] if os.path.exists(paths[1]) else []
            return status, cases, told.getvalue()

    def test_each_call_is_a_case_whose_figure_is_the_longest(self):
        status, cases, told = self.reported(self.LINES)
        self.assertEqual(status, 0)
        self.assertEqual([case["name"] for case in cases][:3],
                         ["latency-object-64-alloc", "latency-object-64-free", "latency-any-size-alloc"])
        self.assertEqual((cases[0]["quarry"], cases[0]["peers"], cases[0]["ratio"]), (95, {"kmem_cache": 190}, 0.5))
        self.assertEqual((cases[-1]["peers"], cases[-1]["ratio"]), ({}, None))
        self.assertEqual(sum(calls for _, calls in cases[0]["distribution"]["quarry"]), 1000)
        self.assertIn("p99.999", told)

    def test_a_call_that_was_not_measured_is_an_error_by_name(self):
        status, cases, told = self.reported(self.LINES.replace("latency: range free", "latency: range lost"))
        self.assertEqual((status, cases), (1, []))
        self.assertIn("range free of quarry", told)

    def test_a_peer_that_was_not_measured_is_an_error_by_name(self):
        status, cases, told = self.reported(self.LINES.replace("any_size free kmalloc", "any_size free nobody"))
        self.assertEqual((status, cases), (1, []))
        self.assertIn("any_size free of kmalloc", told)

    def test_a_distribution_that_was_cut_short_is_an_error(self):
        status, cases, told = self.reported(self.LINES.replace("latency-part: object_64 alloc quarry 88:1", "", 1))
        self.assertEqual((status, cases), (1, []))
        self.assertIn("object_64 alloc of quarry", told)

    def test_the_share_above_falls_from_all_to_the_last_one(self):
        self.assertEqual(page.share_above([[44, 990], [60, 9], [88, 1]]), [(44, 1.0), (60, 0.01), (88, 0.001)])

    def test_a_distribution_is_drawn_inside_its_frame_up_to_the_longest(self):
        _, cases, _ = self.reported(self.LINES)
        root = xml.fromstring(page.latency_svg(cases[0]["distribution"], {"quarry": 95, "kmem_cache": 190}))
        lines = [e for e in root.iter() if e.tag == "polyline"]
        self.assertEqual(len(lines), 2)
        self.assertEqual([e.text for e in root.iter("text")][-2:], ["quarry", "kmem_cache"])
        _, _, wide, high = map(float, root.get("viewBox").split())
        ends = []
        for line in lines:
            points = [tuple(map(float, point.split(","))) for point in line.get("points").split()]
            self.assertTrue(all(0 <= x <= wide and 0 <= y <= high for x, y in points))
            ends.append(points[-1][0])
        self.assertGreater(ends[1], ends[0])

    def test_the_page_shows_a_distribution_instead_of_a_bar(self):
        _, cases, _ = self.reported(self.LINES)
        self.assertIn("p99.999", page.latency_html(cases[0]))
        body = page.page([("latency", "Calls", cases)], "", [])
        self.assertEqual(body.count('<svg class="calls-curve"'), 8)
        self.assertNotIn('class="case"', body)


class KernelReport(unittest.TestCase):
    def reported(self, boots):
        with tempfile.TemporaryDirectory() as folder:
            logs = []
            for n, figures in enumerate(boots):
                logs.append(os.path.join(folder, f"boot-{n}.log"))
                with open(logs[-1], "w", encoding="ascii") as file:
                    file.write("".join(f"[ 1.0] kernel-bench: {case} {who} {value}\n" for (case, who), value in figures.items()))
            target = os.path.join(folder, "kernel.json")
            with contextlib.redirect_stdout(io.StringIO()) as told:
                status = kernel_report.main(target, *logs)
            cases = {case["name"]: case for case in json.load(open(target, encoding="ascii"))["cases"]}
            return status, cases, told.getvalue()

    def figures(self, quarry, peer):
        names = list(kernel_report.BARS.items()) + [(name, (who, 0)) for name, who in kernel_report.UNBARRED.items()]
        all_of = {(name, who): value for name, (peer_name, _) in names for who, value in (("quarry", quarry), (peer_name, peer))}
        for name in ("k-one", "k-growth-1k", "k-growth-1m"):
            all_of.update({(name, "quarry"): quarry, (name, "kmem_cache"): peer})
        return all_of

    def test_a_figure_is_the_median_of_the_boots_and_held_to_its_ratio(self):
        status, cases, told = self.reported([self.figures(quarry, 100000) for quarry in (9000, 10000, 90000)])
        self.assertEqual(status, 0)
        self.assertEqual((cases["k-hot-64"]["quarry"], cases["k-hot-64"]["ratio"], cases["k-hot-64"]["met"]), (10.0, 0.1, True))
        self.assertEqual((cases["k-growth"]["ratio"], cases["k-random-1m"]["met"]), (1.0, None))
        self.assertIn("14 of 14 cases", told)

    def test_a_miss_is_told_with_its_bound(self):
        _, cases, told = self.reported([self.figures(80000, 100000)])
        self.assertIs(cases["k-cross"]["met"], False)
        self.assertIn("lines of cache", cases["k-cross"]["bound"])
        self.assertIn("k-cross: what an object", told)
        self.assertNotIn("bound", cases["k-bulk-64"])

    def test_a_case_without_a_figure_is_an_error_by_name(self):
        figures = self.figures(10000, 100000)
        del figures["k-cross", "kmem_cache"], figures["k-one", "quarry"]
        status, cases, told = self.reported([figures])
        self.assertEqual(status, 1)
        self.assertEqual(cases["k-cross"]["missing"], "kmem_cache")
        self.assertIn("k-two-scaling     no figure of quarry", told)


class VmReport(unittest.TestCase):
    def reported(self, *lines):
        with tempfile.TemporaryDirectory() as folder:
            paths = [os.path.join(folder, name) for name in ("vm.lines", "vm.json")]
            with open(paths[0], "w", encoding="ascii") as file:
                file.write("".join("\t".join(line) + "\n" for line in lines))
            with contextlib.redirect_stdout(io.StringIO()) as told:
                status = vm_report.main(*paths)
            cases = json.load(open(paths[1], encoding="ascii"))["cases"] if os.path.exists(paths[1]) else []
            return status, cases, told.getvalue()

    def test_a_bar_is_of_instructions_or_below_1_of_the_ratio(self):
        status, cases, told = self.reported(("vm-pair", "29.7", "29", "31", "30", "-", "-"),
                                            ("vm-alloc-batch-32", "30", "30", "30", "0.167", "single", "900"),
                                            ("vm-drain-32", "102", "102", "103", "60", "-", "-"),
                                            ("vm-page-pair", "200", "200", "200", "-", "kernel", "4000"))
        self.assertEqual((status, [case["met"] for case in cases]), (0, [True, True, False, None]))
        self.assertAlmostEqual(cases[3]["ratio"], 0.05)
        self.assertIn("entries read and", told)
        self.assertIn("2 of 3 cases", told)

    def test_without_a_line_it_fails(self):
        self.assertEqual(self.reported(("no", "figures"))[:2], (1, []))


class Sections(unittest.TestCase):
    class Names(sections.Symbols):
        NAMES = {1: "quarry_os_lock", 2: "work", 3: "quarry_os_unlock", 4: "after", 5: "site",
                 6: "asm_sysvec_apic_timer_interrupt", 7: "quarry_free", 8: "quarry_core_heap_try_free",
                 9: "_raw_spin_lock_irqsave", 10: "_raw_spin_unlock_irqrestore", 11: "quarry_visit_work", 12: "_Z5flush"}

        def __init__(self):  # pylint: disable=super-init-not-called
            self.ours = {name for name in self.NAMES.values() if not name.startswith("_raw")} - {"after"}

        def of(self, address):
            return self.NAMES[address]

    def longest(self, addresses):
        with tempfile.NamedTemporaryFile("w", suffix=".trace") as file:
            file.writelines(f"Trace 0: 0x1 [0/{a:016x}/0/0] \n" for a in addresses)
            file.flush()
            return sections.longest(file.name, self.Names())

    def test_the_longest_section_is_found_with_its_site(self):
        (length, site), seen, total = self.longest([4, 1, 2, 3, 4, 5, 1] + [2] * 3000 + [3, 4])
        self.assertEqual((length, site, seen, total), (3002, "site", 2, 3009))

    def test_one_that_an_interrupt_came_into_is_none_that_was_seen(self):
        self.assertEqual(self.longest([5, 1, 2, 6, 2, 3, 4]), ((0, "none"), 0, 7))

    def test_a_fast_half_is_a_section_until_it_returns_to_who_pinned(self):
        self.assertEqual(self.longest([4, 7, 8, 8, 2, 8, 7, 7, 4]), ((4, "quarry_free"), 1, 9))

    def test_what_the_core_does_in_the_place_of_a_cpu_is_a_section_and_its_scheduling_is_none(self):
        self.assertEqual(self.longest([4, 11, 12, 2, 11, 4, 4, 4, 4, 4, 11]), ((2, "quarry_visit_work"), 1, 11))

    def test_a_lock_of_the_module_is_a_section_and_one_of_the_kernel_is_none(self):
        self.assertEqual(self.longest([7, 9, 2, 10, 7, 4, 9, 2, 2, 2, 2, 10, 4]), ((3, "quarry_free"), 1, 13))


if __name__ == "__main__":
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules[__name__])
    result = unittest.TextTestRunner(stream=sys.stdout, verbosity=0).run(suite)
    bad = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - bad} passed, {bad} failed")
    sys.exit(1 if bad else 0)
