// SPDX-License-Identifier: MIT
//
// RangeAllocator against a naive model: every short sequence on small pools, then long
// random streams over shapes of all kinds, with the audit after every step.
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "range_model.hpp"
#include "variant.hpp"

namespace quarry {
namespace {

constexpr int kStreams = by_variant(12, 4, 4), kSteps = by_variant(16000, 5000, 1000),
              kDepth = by_variant(5, 4, 3);

template <typename Word>
void random_streams(const std::vector<RangeShape>& shapes) {
    for (int stream = 0; stream < kStreams; ++stream) {
        std::mt19937_64 random(stream);
        RangeModel<Word> model(shapes[stream % shapes.size()]);
        auto pick = [&](u64 n) { return random() % n; };
        for (int i = 0; i < kSteps; ++i) {
            ASSERT_TRUE(model.step(pick)) << model.error() << ", stream " << stream << " step " << i;
            ASSERT_TRUE(model.verify()) << model.error() << ", stream " << stream << " step " << i;
        }
        EXPECT_GT(model.successes(), kSteps / 8u) << stream;
    }
}

TEST(RangeModel, EveryRandomStepAgreesWithANaiveModelAndTheAuditAfterIt) {
    const std::vector<RangeShape> shapes = {
        {.capacity = 200, .max_live = 200},
        {.capacity = 256 * 16, .granule = 16, .max_live = 40, .aligns = {32, 64, 256}},
        {.capacity = 300 * 8, .granule = 8, .max_live = 25, .max_capacity = 8 * 330, .aligns = {16}},
        {.capacity = u64{60000} << 8, .granule = 256, .max_live = 60, .aligns = {4096, 65536}},
        {.capacity = u64{1} << 62, .granule = 4, .max_live = 50, .aligns = {8, 16, u64{1} << 40}},
        {.capacity = 20000, .max_live = 64, .max_capacity = 40000, .aligns = {4, 64}},
        {.capacity = 5000, .max_live = 64, .aligns = {8}},
    };
    random_streams<u64>(shapes);
}

TEST(RangeModel, EveryRandomStepAgreesWithTheModelWithNarrowWords) {
    random_streams<u32>({
        {.capacity = 200, .max_live = 200},
        {.capacity = 300 * 8, .granule = 8, .max_live = 25, .max_capacity = 8 * 330, .aligns = {16}},
        {.capacity = 60000, .max_live = 60, .aligns = {16, 4096}},
        {.capacity = 5000, .max_live = 64},
        {.capacity = (u64{1} << 30) * 4096, .granule = 4096, .max_live = 50, .aligns = {1 << 20}},
    });
}

// Sizes around the border where bins hold more than one size, many equal ones among them.
TEST(RangeModel, LargeAndEqualSizesAgreeWithTheModel) {
    constexpr u64 kSizes[] = {1, 4095, 4096, 4097, 4159, 4160, 8191, 8192, 8256, 5000, 5000, 5001};
    for (int stream = 0; stream < 4; ++stream) {
        std::mt19937_64 random(stream);
        RangeModel<u64> model({.capacity = 300'000, .max_live = 100, .aligns = {64, 4096}});
        for (int i = 0; i < kSteps / 4; ++i) {
            const u64 size = kSizes[random() % std::size(kSizes)];
            const bool good = random() % 5 < 3 ? model.allocate(size, u64{1} << random() % 14)
                                               : model.free_live(random(), random() % 2);
            ASSERT_TRUE(good && model.verify()) << model.error() << ", step " << i;
        }
    }
}

// All sequences of calls to a depth, each replayed from the start.
class Sequences {
public:
    explicit Sequences(const RangeShape& shape) : shape_(shape) {}
    u64 run() {
        extend(0);
        return count_;
    }

private:
    static constexpr struct {
        u64 size, align;
    } kAllocs[] = {{1, 1}, {2, 1}, {3, 1}, {1, 2}, {2, 4}, {1, 8}};
    static constexpr int kFirstFree = std::size(kAllocs);
    static constexpr int kRest = 3;  // grow the first, shrink the first, shrink the capacity

    void extend(int depth) {
        if (::testing::Test::HasFatalFailure()) return;
        if (depth == kDepth) return replay();
        for (int op = 0; op < kFirstFree + kRest + depth; ++op) {
            ops_[depth] = op;
            extend(depth + 1);
        }
    }
    bool act(RangeModel<u32>& model, int op) {
        if (op < kFirstFree) return model.allocate(kAllocs[op].size, kAllocs[op].align);
        switch (op - kFirstFree) {
        case 0: return model.reallocate(0, 4, false);
        case 1: return model.reallocate(0, 1, true);
        case 2: return model.shrink(model.ranges().capacity() - 1);
        default: return model.free_live(static_cast<u64>(op - kFirstFree - kRest), op & 1);
        }
    }
    void replay() {
        RangeModel<u32> model(shape_);
        for (int i = 0; i < kDepth; ++i)
            ASSERT_TRUE(act(model, ops_[i]) && model.verify()) << model.error() << said(i);
        for (u64 at = 0; at <= model.ranges().capacity(); ++at)
            ASSERT_TRUE(model.free_any(at)) << model.error() << said(kDepth - 1);
        ASSERT_TRUE(model.verify()) << model.error() << said(kDepth - 1);
        ASSERT_TRUE(model.ranges().is_empty());
        ASSERT_EQ(model.ranges().largest_available(), model.ranges().capacity());
        ++count_;
    }
    std::string said(int last) const {
        std::string s = ", sequence";
        for (int i = 0; i <= last; ++i) s += " " + std::to_string(ops_[i]);
        return s;
    }

    RangeShape shape_;
    int ops_[kDepth] = {};
    u64 count_ = 0;
};

TEST(RangeModel, EveryShortSequenceOnSmallPoolsAgreesWithTheModel) {
    u64 all = 0;
    all += Sequences({.capacity = 7, .max_live = 4, .aligns = {2}}).run();
    all += Sequences({.capacity = 12, .max_live = 5, .aligns = {4, 8}}).run();
    EXPECT_GT(all, kDepth == 3 ? 1000u : 10000u);
}

}  // namespace
}  // namespace quarry
