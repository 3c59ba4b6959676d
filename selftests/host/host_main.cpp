// SPDX-License-Identifier: MIT
//
// main() of every host test. After each test, whatever its own assertions were:
// no metadata is left, no corruption report untaken, no hold touched more than 32 slots,
// and the thread has left every lock, pin and reader.
#include <gtest/gtest.h>

#include <cstdlib>

#include "host_platform.hpp"

namespace {

using P = quarry::HostPlatform;

class AfterEachTest : public ::testing::EmptyTestEventListener {
    void OnTestStart(const ::testing::TestInfo&) override {
        P::refuse_allocation(0);
        P::reset_max_slots();
        P::reset_zeroed();
        P::set_timed(false);
        (void)P::take_corruptions();
    }
    void OnTestEnd(const ::testing::TestInfo&) override {
        P::refuse_allocation(0);
        EXPECT_TRUE(P::idle()) << "the thread still holds a lock or a pin, or is a reader";
        if (P::idle()) P::settle();
        EXPECT_EQ(P::meta_blocks(), 0u) << "blocks of metadata were left";
        EXPECT_EQ(P::meta_bytes(), 0u) << "bytes of metadata were left";
        EXPECT_EQ(P::take_corruptions().size(), 0u) << "corruption reports that nobody took";
        EXPECT_LE(P::max_slots_per_hold(), quarry::kStepSlots) << "under one hold of a lock";
    }
};

}  // namespace

int main(int argc, char** argv) {
    ::testing::InitGoogleTest(&argc, argv);
    ::testing::GTEST_FLAG(death_test_style) = "threadsafe";
    ::testing::UnitTest::GetInstance()->listeners().Append(new AfterEachTest);
    const int failed = RUN_ALL_TESTS();
    // Planted by run.sh, which must see it.
    const bool planted = std::getenv("QUARRY_HOST_PLANT") && !::testing::GTEST_FLAG(list_tests);
    return planted ? 66 : failed;
}
