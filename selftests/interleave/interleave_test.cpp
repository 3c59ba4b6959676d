// SPDX-License-Identifier: MIT
//
// Interleavings of the core's lock-free parts, tried one after the other (model.hpp): no schedule loses an
// object, gives one twice or contradicts the audit; and each planted fault is found.
#include <gtest/gtest.h>

#include <cstdlib>

#include "scenarios.hpp"

namespace {

using model::Search;

// Of each search; more of them by SCHEDULES.
unsigned long schedules() {
    const char* wanted = std::getenv("SCHEDULES");
    return wanted && *wanted ? std::strtoul(wanted, nullptr, 10) : 4000;
}

void holds(model::Scenario* (*scenario)(void*)) {
    for (const Search search : {Search::bounded, Search::random}) {
        const model::Outcome o = model::explore({scenario, search, schedules()});
        EXPECT_TRUE(o.held) << o.what << ", in schedule " << o.schedules;
        EXPECT_EQ(o.schedules, schedules()) << "so many there are at least";
    }
}

void breaks(model::Scenario* (*scenario)(void*), bool weak, const char* what) {
    const model::Outcome o = model::explore({scenario, Search::random, schedules(), weak});
    EXPECT_FALSE(o.held) << "not found in " << o.schedules << " schedules";
    EXPECT_STREQ(o.what, what) << "in schedule " << o.schedules;
}

TEST(Interleave, AQueueOfTwoProducersLosesNothing) { holds(scenarios::queue); }
TEST(Interleave, TwoFreesAndACollectorForgetNoSlot) { holds(scenarios::homecoming); }
TEST(Interleave, GrantsDrainsAndAReapLoseNothingAndGiveNothingTwice) {
    holds(scenarios::grant_drain_reap);
}
TEST(Interleave, ADrainTouchesNoClientThatIsReaped) { holds(scenarios::drain_beside_reap); }
TEST(Interleave, ATransferBesideItsObjectsFreesIsOneOfThem) {
    holds(scenarios::transfer_beside_free);
}
TEST(Interleave, PagesOfTwoMagazinesAndADrainAreAllThere) { holds(scenarios::page_cache); }
TEST(Interleave, ADriversObjectsFreedElsewhereBesideAFlushComeHome) {
    holds(scenarios::driver_heap);
}

TEST(Interleave, AShrinkerThatHoldsTheCpuTakesNothingFromItsClient) {
    holds(scenarios::shrinker_holds);
}

// ---- planted ----

TEST(Interleave, APlantedOrderingFaultIsFound) {
    breaks(scenarios::homecoming, true, "verify");
}
TEST(Interleave, APlantedWriteOfAShrinkerToAMagazineIsFound) {
    breaks(scenarios::shrinker_does_not_hold, false, "an object in hand has another owner");
}

}  // namespace
