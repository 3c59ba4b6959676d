// SPDX-License-Identifier: MIT
//
// The buddy against a naive model: everything small exhaustively, then a long random
// stream, with the audit after every step.
#include <gtest/gtest.h>

#include <random>

#include "buddy_model.hpp"
#include "variant.hpp"

namespace quarry {
namespace {

using P = HostPlatform;

// A million steps; fewer under the sanitizers, where the pool's model makes a million.
constexpr int kStreams = by_variant(20, 20, 2), kSteps = by_variant(50000, 20000, 20000),
              kDepth = by_variant(4, 3, 2);

TEST(BuddyModel, ALongRandomStreamAgreesWithANaiveModelAndTheAuditAfterEachStep) {
    for (int seed = 0; seed < kStreams; ++seed) {
        std::mt19937_64 random(seed);
        BuddyModel model;
        auto pick = [&](u64 n) { return random() % n; };
        for (int i = 0; i < kSteps; ++i) {
            ASSERT_TRUE(model.step(pick)) << model.error() << ", seed " << seed << " step " << i;
            ASSERT_TRUE(model.verify()) << model.error() << ", seed " << seed << " step " << i;
        }
        EXPECT_GT(model.successes(), kSteps / 8u);
    }
    P::settle();
}

constexpr u64 kEnd = 12;

void expect_clean(Buddy<P>& buddy, const char* when) {
    Audit audit;
    buddy.verify(audit);
    ASSERT_TRUE(audit.clean()) << when << ": " << audit.result().first << " at "
                               << (audit.result().first_offset >> 12);
}

// The free blocks of an unused region are its canonical cover.
void expect_whole(Buddy<P>& buddy, u64 first, u64 end) {
    u64 blocks[kOrders] = {};
    for_each_block(first, end, [&](u64, unsigned o) { ++blocks[o]; });
    for (unsigned o = 0; o < kOrders; ++o)
        ASSERT_EQ(buddy.free_blocks(Order{static_cast<u8>(o)}, Zone::normal), blocks[o])
            << "[" << first << ", " << end << ") order " << o;
}

// All sequences of allocations and frees to a depth, each replayed from the start.
class Sequences {
public:
    Sequences(u64 first, u64 end) : first_(first), end_(end) {}
    u64 run() {
        extend(0);
        return count_;
    }

private:
    // 0..3: alloc of that order; 4..7: exactly 3, 5, 6, 7 pages; 8 and on: free the n-th run.
    static constexpr int kAllocs = 8;
    static constexpr u64 kExact[] = {3, 5, 6, 7};

    void extend(int depth) {
        if (::testing::Test::HasFatalFailure()) return;
        if (depth == kDepth) return replay(depth);
        for (int op = 0; op < kAllocs + depth; ++op) {
            ops_[depth] = op;
            extend(depth + 1);
        }
    }
    void replay(int depth) {
        Buddy<P> buddy(kEnd);
        ASSERT_TRUE(buddy.add_region(PageNumber{first_}, end_ - first_, Zone::normal, nullptr));
        struct Run {
            u64 first, pages;
        };
        std::vector<Run> runs;
        u64 used = 0;
        for (int i = 0; i < depth; ++i) {
            const int op = ops_[i];
            if (op < kAllocs) {
                const u64 pages = op < 4 ? u64{1} << op : kExact[op - 4];
                const auto page = op < 4 ? buddy.alloc(Order{static_cast<u8>(op)})
                                         : buddy.alloc_exact(pages);
                if (!page) {
                    runs.push_back({0, 0});
                    continue;
                }
                ASSERT_GE(value(*page), first_);
                ASSERT_LE(value(*page) + pages, end_);
                for (const Run& r : runs)
                    ASSERT_TRUE(!r.pages || value(*page) + pages <= r.first ||
                                r.first + r.pages <= value(*page));
                runs.push_back({value(*page), pages});
                used += pages;
            } else {
                const size_t n = op - kAllocs;
                if (n >= runs.size() || runs[n].pages == 0) continue;
                ASSERT_EQ(*buddy.free_run(PageNumber{runs[n].first}), runs[n].pages);
                ASSERT_EQ(buddy.free_run(PageNumber{runs[n].first}).error(), Error::already_free);
                used -= runs[n].pages;
                runs[n].pages = 0;
            }
            ASSERT_EQ(buddy.free_pages(), end_ - first_ - used);
            expect_clean(buddy, "after a step");
        }
        for (const Run& r : runs)
            if (r.pages) {
                ASSERT_EQ(buddy.free(PageNumber{r.first}, r.pages), Error::none);
            }
        expect_clean(buddy, "at the end");
        expect_whole(buddy, first_, end_);
        ++count_;
    }

    u64 first_, end_, count_ = 0;
    int ops_[8] = {};
};

TEST(BuddyExhaustive, EverySequenceInEverySmallRegionKeepsTheStructureWhole) {
    u64 count = 0;
    for (u64 a = 0; a < kEnd; ++a)
        for (u64 b = a + 1; b <= kEnd; ++b) {
            count += Sequences(a, b).run();
            if (::testing::Test::HasFatalFailure()) return;
        }
    u64 per_region = 1;
    for (int d = 0; d < kDepth; ++d) per_region *= 8 + d;
    EXPECT_EQ(count, 78 * per_region);
}

TEST(BuddyExhaustive, EveryPartOfEveryRunInEverySmallRegionCanBeFreed) {
    for (u64 a = 0; a < kEnd; ++a)
        for (u64 b = a + 1; b <= kEnd; ++b)
            for (u64 n = 1; n <= b - a; ++n)
                for (u64 from = 0; from < n; ++from)
                    for (u64 to = from + 1; to <= n; ++to) {
                        Buddy<P> buddy(kEnd);
                        ASSERT_TRUE(buddy.add_region(PageNumber{a}, b - a, Zone::normal, nullptr));
                        const auto page = buddy.alloc_exact(n);
                        if (!page) continue;
                        ASSERT_EQ(buddy.free(*page + from, n - from + 1), Error::wrong_size);
                        ASSERT_EQ(buddy.free(*page + from, to - from), Error::none);
                        expect_clean(buddy, "after a part");
                        ReadGuard<P> reader;
                        if (from) {
                            ASSERT_EQ(*buddy.run_pages(*page), from);
                        }
                        if (to < n) {
                            ASSERT_EQ(*buddy.run_pages(*page + to), n - to);
                        }
                        ASSERT_EQ(buddy.free(*page + from, u64{1}), Error::already_free);
                        if (from) {
                            ASSERT_EQ(*buddy.free_run(*page), from);
                        }
                        if (to < n) {
                            ASSERT_EQ(*buddy.free_run(*page + to), n - to);
                        }
                        expect_whole(buddy, a, b);
                    }
}

TEST(BuddyExhaustive, AWholeRegionOfAnyPlaceAndSizeIsOneExactRunWhenItStartsAligned) {
    // What find_gap promises: a region aligned to its size rounded up serves one exact run.
    for (u64 pages = 1; pages <= 200; ++pages) {
        Buddy<P> buddy(1024);
        const u64 first = u64{1} << ceil_log2(pages);
        ASSERT_TRUE(buddy.add_region(PageNumber{first}, pages, Zone::normal, nullptr));
        const auto run = buddy.alloc_exact(pages);
        ASSERT_TRUE(run) << pages;
        EXPECT_EQ(value(*run), first);
        EXPECT_EQ(buddy.free_pages(), 0u);
        expect_clean(buddy, "whole region");
        ASSERT_EQ(*buddy.free_run(*run), pages);
        expect_whole(buddy, first, first + pages);
    }
}

TEST(BuddyExhaustive, EveryWrongFreeInASmallRegionIsItsOwnErrorAndChangesNothing) {
    for (u64 a = 0; a < 6; ++a)
        for (u64 n = 1; n <= 6; ++n) {
            Buddy<P> buddy(16);
            ASSERT_TRUE(buddy.add_region(PageNumber{a}, 10, Zone::normal, nullptr));
            const auto run = buddy.alloc_exact(n);
            if (!run) continue;
            const u64 free_before = buddy.free_pages();
            for (u64 page = 0; page < 20; ++page)
                for (unsigned o = 0; o < 5; ++o) {
                    const bool inside = page >= value(*run) && page < value(*run) + n;
                    if (page == value(*run) && u64{1} << o == n) continue;
                    const Error wanted = page >= 16                   ? Error::out_of_range
                                         : page < a || page >= a + 10 ? Error::no_region
                                         : !inside                    ? Error::already_free
                                         : page == value(*run)        ? Error::wrong_size
                                                                      : Error::not_object;
                    ASSERT_EQ(buddy.free(PageNumber{page}, Order{static_cast<u8>(o)}), wanted);
                    ASSERT_EQ(buddy.free_pages(), free_before);
                }
            expect_clean(buddy, "after wrong frees");
        }
}

}  // namespace
}  // namespace quarry
